"""One run through the queue and this process's own worker, for whoever waits for its model."""

import uuid
from pathlib import Path

from services.trainer.config import TrainerSettings
from services.trainer.queries import unfinished_in
from services.trainer.worker import run_worker
from services.trainer.workplace import Workplace, open_workplace
from shared.contracts.training import TrainingRequest
from shared.db.audit import person_name
from shared.db.tables import ModelVersion, TrainingRun
from shared.errors import HeedError
from shared.jobs import enqueue


async def train_queued(
    settings: TrainerSettings, url: str, request: TrainingRequest, *, queue: str
) -> Path:
    """The folder of the model of a run that a worker started here sees to its end.

    Args:
        settings: of the worker.
        url: of the database.
        request: what to train.
        queue: the run's own, so that the worker takes no other; a run that waits there already,
            since the machine was taken away from it, goes on.

    Raises:
        HeedError: the run came to no model; the message is that of the run.
    """
    async with open_workplace(settings, url) as workplace:
        run_id = await _placed(workplace, request, queue)
        alone = settings.model_copy(update={"worker_queues": queue, "worker_runs": 1})
        await run_worker(alone, url)
        async with workplace.sessions() as session:
            run = await session.get_one(TrainingRun, run_id)
            model = await session.get(ModelVersion, run.model_version_id)
        if model is None:
            raise HeedError(run.error or f"Training run {run_id} was stopped.")
        return workplace.store.path(model.uri)


async def _placed(workplace: Workplace, request: TrainingRequest, queue: str) -> uuid.UUID:
    async with workplace.sessions.begin() as session:
        return await unfinished_in(session, queue) or await enqueue(
            session,
            TrainingRun,
            kind=request.kind,
            params=request.model_dump(mode="json"),
            created_by=person_name(),
            queue=queue,
        )
