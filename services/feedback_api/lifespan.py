"""What lives as long as the process: opened when the app starts, closed when it stops."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from services.feedback_api.admission import Admission, Stage
from services.feedback_api.config import FeedbackSettings
from services.feedback_api.deps import Runtime
from services.feedback_api.limits import Limits
from services.feedback_api.upkeep import keep_up
from services.feedback_api.writer import FEEDBACK, PREFERENCE, Kind, Writer, create_pool
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.db.migrate import require_current
from shared.db.secret_check import claim_or_refuse
from shared.keys import CHANNEL, KeyCache
from shared.privacy import fingerprint, load_secret

POOL_SIZE = 8


@asynccontextmanager
async def lifespan(app: FastAPI, settings: FeedbackSettings) -> AsyncIterator[dict[str, Runtime]]:
    """The running app's state: its `Runtime`."""
    url, secret = resolve_database_url(settings), load_secret(settings)
    async with AsyncExitStack() as stack:
        engine = create_engine(url)
        stack.push_async_callback(engine.dispose)
        sessions = create_sessions(engine)
        with reaching_database():
            await require_current(engine)
            await claim_or_refuse(sessions, fingerprint(secret))
        keys = KeyCache(sessions)
        limits = Limits(settings, app.state.metrics)
        pool = await create_pool(url, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        for work in (
            listen(url, {CHANNEL: keys.forget}, on_connect=keys.forget),
            keep_up(pool),
        ):
            await stack.enter_async_context(_in_background(work))

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
                keys=keys,
                pool=pool,
                limits=limits,
                admit=Admission(_stages(settings, limits)),
                feedback=await start(FEEDBACK),
                preferences=await start(PREFERENCE),
            )
        }


def _stages(settings: FeedbackSettings, limits: Limits) -> tuple[Stage, ...]:
    """What posts pass before they are written, in this order."""
    return (limits,)


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
