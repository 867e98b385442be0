"""The review queue over HTTP: asked for as a job of the trainer, read from what the job left.

A page is of the queue as it was made, without what was judged, withdrawn or erased since.
"""

import base64
import binascii
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.review import KIND, MadeQueue, Question, QueueRequest
from shared.contracts.values import RunStatus
from shared.db.consents import consented_interactions
from shared.db.judged import is_judged
from shared.db.tables import InteractionRecord, Job
from shared.errors import InvalidInput
from shared.jobs import enqueue
from shared.privacy.fields import FieldCipher


@dataclass(frozen=True)
class Asking:
    """A response to ask about, with its texts, and its place in the queue, from 1."""

    place: int
    question: Question
    record: InteractionRecord
    slice: str | None


@dataclass(frozen=True)
class ReviewQueue:
    """The newest queue of a project, the state of the newest job, and one page of the queue.

    `made` and `made_at` are None before there is one.
    """

    state: RunStatus | None
    error: str | None
    made_at: datetime | None = None
    made: MadeQueue | None = None
    page: Sequence[Asking] = ()
    next_cursor: str | None = None


async def ask(session: AsyncSession, wanted: QueueRequest, *, project_id: int, actor: str) -> UUID:
    """The job that makes the queue; the same wish while it waits is the same job.

    Raises:
        Conflict: the same wish was taken up this very moment.
    """
    params = wanted.model_dump()
    return await enqueue(
        session, Job, kind=KIND, params=params, project_id=project_id, queue=KIND,
        dedupe_key=f"{KIND} {wanted.model_dump_json()}", created_by=actor,
    )  # fmt: skip


async def read(
    session: AsyncSession,
    cipher: FieldCipher,
    project_id: int,
    *,
    cursor: str | None,
    limit: int,
) -> ReviewQueue:
    """What is there to ask about, continuing after the cursor.

    Raises:
        InvalidInput: the cursor is none of this API, or of an earlier queue.
    """
    newest = await _newest(session, project_id, list(RunStatus))
    job = await _newest(session, project_id, [RunStatus.SUCCEEDED])
    state = RunStatus(newest.status) if newest else None
    error = newest.error if newest else None
    if job is None:
        return ReviewQueue(state, error)
    made = MadeQueue.model_validate(job.progress)
    start = _place(cursor, job.id) if cursor else 0
    rest = list(enumerate(made.questions, start=1))[start:]
    is_open = await _open(session, project_id, [question.id for _, question in rest])
    waiting = [(place, question) for place, question in rest if question.id in is_open]
    shown = waiting[:limit]
    page = await _with_texts(session, cipher, shown, str(job.params["by"]))
    more = _cursor(job.id, shown[-1][0]) if len(waiting) > limit else None
    return ReviewQueue(state, error, job.finished_at, made, page, more)


async def _newest(
    session: AsyncSession, project_id: int, statuses: Collection[RunStatus]
) -> Job | None:
    statement = (
        select(Job)
        .where(
            col(Job.project_id) == project_id,
            col(Job.kind) == KIND,
            col(Job.status).in_(statuses),
        )
        .order_by(col(Job.created_at).desc(), col(Job.id).desc())
        .limit(1)
    )
    return (await session.scalars(statement)).first()


async def _open(session: AsyncSession, project_id: int, ids: Sequence[UUID]) -> set[UUID]:
    """Those that may still be asked about and that nobody judged since."""
    statement = select(col(InteractionRecord.id)).where(
        col(InteractionRecord.id).in_(ids),
        *consented_interactions(project_id),
        ~is_judged(project_id),
    )
    return set(await session.scalars(statement))


async def _with_texts(
    session: AsyncSession,
    cipher: FieldCipher,
    shown: Sequence[tuple[int, Question]],
    by: str,
) -> list[Asking]:
    """The shown ones; without those that lost a text to a destroyed key."""
    ids = [question.id for _, question in shown]
    statement = select(InteractionRecord).where(col(InteractionRecord.id).in_(ids))
    records = list(await session.scalars(statement))
    lost = await cipher.unseal("rlhf_interaction_records", records)
    readable = {record.id: record for at, record in enumerate(records) if at not in lost}
    return [
        Asking(place, question, record, _slice(record, by))
        for place, question in shown
        if (record := readable.get(question.id)) is not None
    ]


def _slice(record: InteractionRecord, by: str) -> str | None:
    value = record.agent_name if by == "agent" else record.context.get(by)
    return value if value is None or isinstance(value, str) else str(value)


def _cursor(job_id: UUID, place: int) -> str:
    return base64.urlsafe_b64encode(f"{job_id} {place}".encode()).decode()


def _place(cursor: str, job_id: UUID) -> int:
    try:
        of_job, place = base64.urlsafe_b64decode(cursor).decode().split(" ")
        is_of_this, start = UUID(of_job) == job_id, int(place)
    except (binascii.Error, ValueError):
        is_of_this, start = False, 0
    if not is_of_this or start < 1:
        raise InvalidInput(
            "The cursor is not one of this queue, which may have been made anew; start again "
            "without it.",
            code="invalid_cursor",
        )
    return start
