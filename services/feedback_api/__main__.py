"""Runs the feedback API: `python -m services.feedback_api`."""

from services.feedback_api.app import create_app
from services.feedback_api.config import FeedbackSettings
from shared.config import load_settings
from shared.web import serve, serve_or_exit


def main() -> None:
    """Serve until SIGTERM; a start that fails ends in one line."""
    settings = load_settings(FeedbackSettings)
    serve(
        lambda: create_app(settings),
        settings.feedback_host,
        settings.feedback_port,
        port_setting="HEED_FEEDBACK_PORT",
    )


if __name__ == "__main__":
    serve_or_exit(main)
