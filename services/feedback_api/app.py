"""The feedback API as an ASGI app: `uvicorn services.feedback_api.app:create_app --factory`."""

from importlib.metadata import version

from fastapi import FastAPI

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.lifespan import lifespan
from services.feedback_api.routes import (
    audit_log,
    consents,
    feedback,
    health,
    interactions,
    keys,
    lineage,
    preferences,
    reasoning_steps,
    review,
    schedules,
    stats,
    subjects,
    training_runs,
    webhooks,
    widget,
    widget_tokens,
)
from services.feedback_api.schemas import FeedbackIn, InteractionIn, PreferenceIn, ReasoningStepIn
from shared.config import load_settings
from shared.logs import configure_logs
from shared.web import install

# Steps come before interactions, whose ids may contain slashes.
ROUTES = (
    feedback,
    preferences,
    reasoning_steps,
    interactions,
    review,
    schedules,
    stats,
    consents,
    audit_log,
    subjects,
    lineage,
    training_runs,
    keys,
    webhooks,
    widget,
    widget_tokens,
    health,
)
# The posts of every client come this way; everything else is declared above only.
DIRECT = {
    ("POST", "/feedback"): feedback.post_directly,
    ("POST", "/preference"): preferences.post_directly,
}
RAW_BODIES = (FeedbackIn, PreferenceIn, InteractionIn, ReasoningStepIn)


def create_app(settings: FeedbackSettings | None = None) -> FastAPI:
    """The app; its resources are opened when it starts and closed when it stops."""
    settings = settings or load_settings(FeedbackSettings)
    configure_logs(settings.log_level)
    app = FastAPI(
        title="Heed feedback API",
        version=version("heed-rlhf"),
        summary="Feedback and preferences in, rows out.",
        lifespan=lambda app: lifespan(app, settings),
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    install(
        app,
        service="feedback_api",
        max_body_bytes=settings.feedback_max_body_bytes,
        cors_origins=settings.feedback_cors_origins,
        schemas=RAW_BODIES,
        direct=DIRECT,
    )
    for routes in ROUTES:
        app.include_router(routes.router)
    return app
