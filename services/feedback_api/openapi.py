"""The committed description of the API: `python -m services.feedback_api.openapi` rewrites it."""

import json
from pathlib import Path
from typing import Any

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings

PATH = Path(__file__).parents[2] / "openapi" / "feedback_api.json"


def document() -> dict[str, Any]:
    """The description as the service serves it at `/openapi.json`."""
    return create_app(FeedbackSettings()).openapi()


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(document(), indent=1, sort_keys=True) + "\n")
