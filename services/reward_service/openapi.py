"""`python -m services.reward_service.openapi`: write `openapi/reward_service.json` anew."""

import json
from pathlib import Path
from typing import Any

from services.reward_service.app import create_app
from services.reward_service.config import RewardSettings

TARGET = Path(__file__).parents[2] / "openapi" / "reward_service.json"


def document() -> dict[str, Any]:
    """The description of the API that the service itself serves."""
    return create_app(RewardSettings()).openapi()


def main() -> None:
    """Write the committed copy."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(document(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
