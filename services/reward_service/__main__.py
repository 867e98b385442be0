"""`python -m services.reward_service`: serve rewards until SIGTERM."""

import gc
import os

from shared.config import load_settings
from shared.logs import configure_logs
from shared.web import serve, serve_or_exit


def main() -> None:
    """Serve with the settings of the environment; the libraries are told to stay offline."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 - read by a library, at its import
    # Looking for garbage among what is imported takes a quarter of the imports' time; it goes on
    # when the first model was looked for, see `memory.settle`.
    gc.disable()
    from services.reward_service.app import create_app
    from services.reward_service.config import RewardSettings

    settings = load_settings(RewardSettings)
    configure_logs(settings.log_level)
    serve(
        lambda: create_app(settings),
        settings.reward_host,
        settings.reward_port,
        port_setting="HEED_REWARD_PORT",
    )


if __name__ == "__main__":
    serve_or_exit(main)
