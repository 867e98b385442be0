"""Jobs that load models: a child of the worker does each, and the memory it took is free again."""

import uuid

from services.trainer.children import child_for, how_it_ended
from services.trainer.config import TrainerSettings
from services.trainer.execution import EXIT_LOST
from services.trainer.review.jobs import MAKING_QUEUES
from services.trainer.schedules.monitoring import MONITORING
from services.trainer.small_jobs import Trade
from services.trainer.workplace import Workplace, open_workplace, run_log
from shared.contracts.values import RunStatus
from shared.db.tables import Job
from shared.errors import HeedError, RunInterrupted


async def in_child(workplace: Workplace, job: Job) -> None:
    """Wait until a child process has done a claimed job and finished its row.

    Raises:
        RunInterrupted: the claim was lost.
        HeedError: the child ended without finishing; the message says how.
    """
    log_path = run_log(workplace.settings, job.id)
    async with child_for(job, "--job", log_path) as child:
        ending = await child.wait()
    if ending == EXIT_LOST:
        raise RunInterrupted(f"Attempt {job.attempt} of job {job.id} lost its claim.")
    if ending:
        raise HeedError(how_it_ended(ending, log_path))
    log_path.unlink(missing_ok=True)


_TRADES = {trade.queue: trade for trade in (MAKING_QUEUES, MONITORING)}
QUEUES_IN_CHILD = Trade(MAKING_QUEUES.queue, in_child)
MONITORING_IN_CHILD = Trade(MONITORING.queue, in_child)


async def do_claimed(settings: TrainerSettings, url: str, job_id: uuid.UUID, attempt: int) -> int:
    """Do the job that the worker claimed, as its child process; the exit status.

    Raises:
        Unavailable: something is away for now; the worker lets the job wait.
    """
    async with open_workplace(settings, url) as workplace:
        async with workplace.sessions() as session:
            job = await session.get(Job, job_id)
        if job is None or job.attempt != attempt or job.status != RunStatus.RUNNING:
            return EXIT_LOST
        try:
            await _TRADES[job.queue].carry_out(workplace, job)
        except RunInterrupted:
            return EXIT_LOST
    return 0
