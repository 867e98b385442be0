"""What lives as long as the process: opened when the app starts, closed when it stops."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from services.feedback_api.admission import Admission, BatchSlots, Stage
from services.feedback_api.config import FeedbackSettings
from services.feedback_api.deps import Runtime
from services.feedback_api.erasure.hourly import keep_promises
from services.feedback_api.handout import hand_out
from services.feedback_api.limits import Limits
from services.feedback_api.masked_posts import masking
from services.feedback_api.sealed_posts import sealing
from services.feedback_api.upkeep import keep_up
from services.feedback_api.writer import FEEDBACK, PREFERENCE, Kind, Writer, create_pool
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.db.migrate import require_current
from shared.db.secret_check import claim_or_refuse
from shared.keys import CHANNEL, KeyCache
from shared.privacy import fields, fingerprint, load_secret

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
        cipher = _open_cipher(stack, settings, url)
        limits = Limits(settings, app.state.metrics)
        pool = await create_pool(url, size=POOL_SIZE)
        stack.push_async_callback(pool.close)
        masked = await stack.enter_async_context(masking(settings, app.state.metrics))
        for work in (
            _hear_changes(url, keys, cipher),
            keep_up(pool),
            keep_promises(sessions, settings),
            hand_out(settings, sessions, secret, url, app.state.metrics),
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
                cipher=cipher,
                pool=pool,
                limits=limits,
                admit=Admission(_stages(limits, masked, cipher)),
                batches=BatchSlots(settings.feedback_max_batches),
                feedback=await start(FEEDBACK),
                preferences=await start(PREFERENCE),
            )
        }


def _stages(
    limits: Limits, masked: tuple[Stage, ...], cipher: fields.FieldCipher
) -> tuple[Stage, ...]:
    """What posts pass before they are written, in this order."""
    return (limits, *masked, sealing(cipher))


def _open_cipher(stack: AsyncExitStack, settings: FeedbackSettings, url: str) -> fields.FieldCipher:
    """Data keys are read while requests hold connections: from a pool in which no request waits."""
    engine = create_engine(url, pool_size=1)
    stack.push_async_callback(engine.dispose)
    return fields.open_cipher(settings, create_sessions(engine))


def _hear_changes(
    url: str, keys: KeyCache, cipher: fields.FieldCipher
) -> Coroutine[Any, Any, None]:
    """Forget API keys and data keys that another process changed."""

    def forget_all() -> None:
        keys.forget()
        cipher.forget()

    handlers = {CHANNEL: keys.forget, fields.CHANNEL: cipher.forget}
    return listen(url, handlers, on_connect=forget_all)


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
