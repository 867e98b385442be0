"""Builds the reward service."""

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from services.reward_service import cards, dialects
from services.reward_service.config import RewardSettings
from services.reward_service.lifespan import lifespan
from services.reward_service.routes import router
from shared.config import load_settings
from shared.web import install


def create_app(settings: RewardSettings | None = None) -> FastAPI:
    """The app; settings come from the environment unless they are given."""
    settings = settings or load_settings(RewardSettings)
    app = FastAPI(
        title="Heed reward service",
        version=version("heed-rlhf"),
        description="Rewards of responses: how good people would find them.",
        lifespan=partial(lifespan, settings=settings),
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    install(app, service="reward_service", max_body_bytes=settings.reward_max_body_bytes)
    app.include_router(router)
    app.include_router(cards.router)
    dialects.install(app)
    return app
