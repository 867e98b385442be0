"""A worker for one run, as a Kubernetes Job has it, ends when the run has."""

import asyncio

from services.trainer.worker import Worker
from services.trainer.workplace import open_workplace
from shared.contracts.training import RunKind
from shared.db.tables import TrainingRun
from shared.jobs import enqueue


async def test_a_worker_that_is_to_see_one_run_leaves_the_next_one_waiting(
    settings, sessions, as_settings
):
    settings = settings.model_copy(update={"worker_runs": 1})
    async with sessions.begin() as session:
        refused = await enqueue(  # there is no feedback: it fails in its first second
            session, TrainingRun, kind=RunKind.REWARD_EMBEDDING, params={}
        )
        waiting = await enqueue(session, TrainingRun, kind=RunKind.REWARD_EMBEDDING, params={})

    async with open_workplace(settings, settings.database_url.get_secret_value()) as workplace:
        async with asyncio.timeout(120):
            await Worker(workplace).work()

    async with sessions() as session:
        statuses = [(await session.get_one(TrainingRun, one)).status for one in (refused, waiting)]
    assert statuses == ["failed", "queued"]
