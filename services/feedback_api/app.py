"""The feedback API as an ASGI app: `uvicorn services.feedback_api.app:create_app --factory`."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.deps import Runtime
from services.feedback_api.routes import (
    feedback,
    health,
    interactions,
    keys,
    preferences,
    reasoning_steps,
    stats,
)
from services.feedback_api.schemas import FeedbackIn, InteractionIn, PreferenceIn, ReasoningStepIn
from services.feedback_api.upkeep import keep_up
from services.feedback_api.writer import FEEDBACK, PREFERENCE, Kind, Writer, create_pool
from shared.config import load_settings
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.db.migrate import require_current
from shared.db.secret_check import claim_or_refuse
from shared.keys import CHANNEL, KeyCache
from shared.logs import configure_logs
from shared.privacy import fingerprint, load_secret
from shared.web import install

POOL_SIZE = 8
RAW_BODIES = (FeedbackIn, PreferenceIn, InteractionIn, ReasoningStepIn)


def create_app(settings: FeedbackSettings | None = None) -> FastAPI:
    """The app; its resources are opened when it starts and closed when it stops."""
    settings = settings or load_settings(FeedbackSettings)
    configure_logs(settings.log_level)
    app = FastAPI(
        title="Heed feedback API",
        version=version("heed-rlhf"),
        summary="Feedback and preferences in, rows out.",
        lifespan=lambda app: _lifespan(app, settings),
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    install(
        app,
        service="feedback_api",
        max_body_bytes=settings.feedback_max_body_bytes,
        cors_origins=settings.feedback_cors_origins,
        schemas=RAW_BODIES,
    )
    # Steps come before interactions, whose ids may contain slashes.
    for routes in (feedback, preferences, reasoning_steps, interactions, stats, keys, health):
        app.include_router(routes.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: FeedbackSettings) -> AsyncIterator[dict[str, Runtime]]:
    url, secret = resolve_database_url(settings), load_secret(settings)
    async with AsyncExitStack() as stack:
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        sessions = create_sessions(engine)
        with reaching_database():
            await require_current(engine)
            await claim_or_refuse(sessions, fingerprint(secret))
        key_cache = KeyCache(sessions)
        forget = key_cache.forget
        listening = listen(url, {CHANNEL: forget}, on_connect=forget)
        await stack.enter_async_context(_in_background(listening))
        pool = await create_pool(url, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        await stack.enter_async_context(_in_background(keep_up(pool)))

        async def start(kind: Kind) -> Writer:
            writer = Writer(
                pool,
                kind,
                max_pending=settings.feedback_max_pending,
                retry_s=settings.feedback_retry_s,
                registry=app.state.metrics,
            )
            await stack.enter_async_context(writer.running())
            return writer

        yield {
            "runtime": Runtime(
                settings=settings,
                secret=secret,
                engine=engine,
                sessions=sessions,
                keys=key_cache,
                pool=pool,
                feedback=await start(FEEDBACK),
                preferences=await start(PREFERENCE),
            )
        }


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Inside, the work goes on; leaving cancels it and waits until it has ended."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
