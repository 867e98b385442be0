"""The review queue as a job: whoever asks over HTTP waits for it in the database."""

from dataclasses import replace

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.review.reviewing import QueuePlan, ReviewQueue, review_queue
from services.trainer.small_jobs import Trade
from services.trainer.workplace import Workplace
from shared.contracts.review import KIND, MadeQueue, Question, QueueRequest
from shared.contracts.values import RunStatus
from shared.db.tables import Job
from shared.errors import HeedError, Unavailable
from shared.jobs import finish


async def carry_out(workplace: Workplace, job: Job) -> None:
    """Make the queue that was asked for and leave it in the job, in place of earlier ones.

    What asking again cannot change, such as that nothing is recorded, is told in the job.

    Raises:
        RunInterrupted: the claim was lost.
        Unavailable: something is away for now.
    """
    asked = QueueRequest.model_validate(job.params)
    place = replace(workplace, store=workplace.store.of_project(job.project_id))
    try:
        queue = await review_queue(
            place, QueuePlan(**asked.model_dump(), project_id=job.project_id)
        )
    except Unavailable:
        raise
    except HeedError as error:
        async with workplace.sessions.begin() as session:
            await finish(session, job, RunStatus.FAILED, error=error.detail)
        return
    async with workplace.sessions.begin() as session:
        result = _made(queue).model_dump(mode="json")
        await finish(session, job, RunStatus.SUCCEEDED, progress=result, error=None)
        await _forget_earlier(session, job)


MAKING_QUEUES = Trade(KIND, carry_out)


def _made(queue: ReviewQueue) -> MadeQueue:
    questions = [Question.model_validate(one, from_attributes=True) for one in queue.asked]
    return MadeQueue(
        questions=questions,
        model=queue.model,
        recorded=queue.recorded,
        unjudged=queue.unjudged,
    )


async def _forget_earlier(session: AsyncSession, job: Job) -> None:
    await session.execute(
        delete(Job).where(
            col(Job.project_id) == job.project_id,
            col(Job.kind) == KIND,
            col(Job.created_at) < job.created_at,
            col(Job.status).in_([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED]),
        )
    )
