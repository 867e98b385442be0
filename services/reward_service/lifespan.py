"""What the reward service holds while it runs: database, models, scoring threads, listeners."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from services.reward_service.batcher import Batcher
from services.reward_service.cards import Cards
from services.reward_service.config import RewardSettings
from services.reward_service.deps import Service
from services.reward_service.live_models import LiveModels
from services.reward_service.loading import How, load_version
from services.reward_service.memory import Budget
from services.reward_service.metrics import MemoryCollector, ServingMetrics
from services.reward_service.queries import find_version
from services.reward_service.references import Reference
from services.reward_service.scoring import Scoring
from services.reward_service.waiting import Limits
from shared import keys, registry
from shared.artifacts import open_store
from shared.db.connect import resolve_database_url
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.db.migrate import require_current
from shared.db.secret_check import claim_or_refuse
from shared.errors import DatabaseUnavailable
from shared.keys import KeyCache
from shared.logs import get_logger
from shared.ml.embedding_cache import EmbeddingCache
from shared.privacy import fingerprint, load_secret

SCHEMA_CHECK_S = 5.0


@asynccontextmanager
async def lifespan(app: FastAPI, *, settings: RewardSettings) -> AsyncIterator[Mapping[str, Any]]:
    """Serve at once; the live model is loaded meanwhile, and the database may come later."""
    url = resolve_database_url(settings)
    engine = create_engine(url)
    try:
        sessions, secret = create_sessions(engine), load_secret(settings)
        await _refuse_foreign(engine, sessions, secret)
        metrics = ServingMetrics(app.state.metrics)
        vectors = EmbeddingCache(settings.reward_cache_bytes)
        store = open_store(settings)
        how = How(store, secret, settings.reward_engine, wrap=vectors.wrap)
        cache, live = KeyCache(sessions), _live_models(settings, sessions, how, metrics)
        metrics.registry.register(MemoryCollector(live.in_memory, vectors))
        threads = _scoring_threads(settings, metrics, vectors)
        async with _following(url, cache, live), threads as batcher:
            scoring = Scoring(live, batcher, metrics)
            cards = Cards(partial(find_version, sessions), store, secret)
            yield {"service": Service(settings, cache, live, scoring), "cards": cards}
    finally:
        await engine.dispose()


async def _refuse_foreign(
    engine: AsyncEngine, sessions: async_sessionmaker[AsyncSession], secret: bytes
) -> None:
    """Refuse another schema or secret; a database that is away will be looked for again."""
    try:
        with reaching_database():
            async with asyncio.timeout(SCHEMA_CHECK_S):
                await require_current(engine)
                await claim_or_refuse(sessions, fingerprint(secret))
    except DatabaseUnavailable:
        get_logger("reward_service").warning("database_unreachable_at_start")


def _live_models(
    settings: RewardSettings,
    sessions: async_sessionmaker[AsyncSession],
    how: How,
    metrics: ServingMetrics,
) -> LiveModels:
    return LiveModels(
        partial(find_version, sessions),
        partial(load_version, how=how),
        metrics,
        default=Reference(1, settings.reward_model),
        budget=Budget(settings.reward_loaded_models, settings.reward_memory_bytes),
        poll_s=settings.reward_poll_s,
    )


@asynccontextmanager
async def _following(url: str, cache: KeyCache, live: LiveModels) -> AsyncIterator[None]:
    """Two tasks: one hears of revoked keys and moved aliases, one brings the models up to date."""

    def forget_all() -> None:
        cache.forget()
        live.look_again()

    handlers = {keys.CHANNEL: cache.forget, registry.CHANNEL: live.look_again}
    tasks = [
        asyncio.create_task(listen(url, handlers, on_connect=forget_all)),
        asyncio.create_task(live.follow()),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _scoring_threads(
    settings: RewardSettings, metrics: ServingMetrics, vectors: EmbeddingCache
) -> AsyncIterator[Batcher]:
    limits = Limits(
        settings.reward_workers, settings.reward_batch_tokens, settings.reward_queue_tokens
    )
    batcher = Batcher(limits, metrics, remembered=lambda: vectors.remembered_here)
    try:
        yield batcher
    finally:
        await asyncio.to_thread(batcher.close)
