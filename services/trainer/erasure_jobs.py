"""The jobs that erasures leave: mostly reading and writing files, in threads."""

from sqlalchemy import select
from sqlmodel import col

from services.trainer import small_jobs
from services.trainer.erasing import carry_out
from services.trainer.small_jobs import Trade
from services.trainer.workplace import Workplace
from shared.db.tables import Erasure, Job

QUEUE = "erasure"
ERASING = Trade(QUEUE, carry_out)


async def work_off_one(workplace: Workplace) -> bool:
    """Whether an erasure was waiting; it is finished, or waits for its next attempt.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached; the claim runs out by itself.
    """
    return await small_jobs.work_off_one(workplace, ERASING)


async def reason_of_failure(workplace: Workplace, erasure: Erasure) -> str | None:
    """Why the newest attempt at an erasure's files failed; None while none has."""
    async with workplace.sessions() as session:
        statement = select(col(Job.error)).where(
            col(Job.project_id) == erasure.project_id,
            col(Job.kind) == QUEUE,
            col(Job.params)["erasure_id"].astext == str(erasure.id),
        )
        return await session.scalar(statement)
