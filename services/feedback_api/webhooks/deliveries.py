"""Deliveries as rows of `rlhf_jobs`: one event, or several folded, for one webhook.

A delivery's id is the `webhook-id` of all its attempts. Its queue is its webhook's own, so a claim
finds the next one by index and a slow receiver holds up nobody else; `schedule` and `due_at` name
the webhook and the moment the delivery was made, by which it is found again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.tables import Job
from shared.errors import Conflict, NotFound
from shared.ids import new_id

CHANNEL = "heed_deliveries"
KIND = "webhook"
TEST = "webhook.test"
# Seconds before the second, third, … attempt; about a day in all.
WAITS_S = (5, 30, 120, 600, 3600, 10_800, 28_800, 43_200)
MAX_ATTEMPTS = len(WAITS_S) + 1
MAX_IDS = 500
# While a receiver fails, new events of one type gather for so long and become one delivery.
GATHER_S = 300
MAX_REPLAYED = 10_000
QUEUE = "webhooks:"


@dataclass(frozen=True)
class Message:
    """What a receiver is told: the type, when it happened, ids and counts."""

    type: str
    timestamp: datetime
    data: Json

    @property
    def params(self) -> Json:
        """As a job keeps it, and as the body is made of it."""
        moment = self.timestamp.astimezone(UTC).isoformat(timespec="milliseconds")
        return {"type": self.type, "timestamp": moment, "data": self.data}

    @property
    def is_foldable(self) -> bool:
        """Whether two of them may become one: a count and a list of ids."""
        return self.data.keys() == {"count", "ids", "truncated"}


def queue_of(webhook_id: UUID) -> str:
    """The queue, and the `schedule`, of a webhook's deliveries."""
    return f"{QUEUE}{webhook_id}"


def message_id(delivery_id: UUID) -> str:
    """The `webhook-id` of every attempt of a delivery."""
    return f"msg_{delivery_id.hex}"


async def add_delivery(
    session: AsyncSession, webhook_id: UUID, message: Message, *, project_id: int
) -> UUID:
    """The delivery that will tell this: one that waits untried and takes it in, or a new one."""
    if message.is_foldable:
        folded = await _fold_into_waiting(session, webhook_id, message)
        if folded is not None:
            return folded
    delivery_id = new_id()
    await session.execute(
        insert(Job).values(
            id=delivery_id,
            project_id=project_id,
            kind=KIND,
            queue=queue_of(webhook_id),
            schedule=queue_of(webhook_id),
            due_at=func.clock_timestamp(),
            max_attempts=MAX_ATTEMPTS,
            params=message.params,
            run_after=_when(webhook_id, message),
        )
    )
    return delivery_id


async def wake_couriers(session: AsyncSession) -> None:
    """Tell every process, at the commit, that there is something to deliver."""
    await session.execute(select(func.pg_notify(CHANNEL, "")))


async def list_deliveries(
    session: AsyncSession, webhook_id: UUID, *, project_id: int, limit: int = 50
) -> Sequence[Job]:
    """The newest deliveries of a webhook, newest first."""
    statement = select(Job).where(*_of_webhook(webhook_id, project_id))
    return (await session.scalars(statement.order_by(col(Job.due_at).desc()).limit(limit))).all()


async def replay(
    session: AsyncSession, webhook_id: UUID, delivery_id: UUID, project_id: int
) -> None:
    """Let a finished delivery be sent again, under the same `webhook-id`.

    Raises:
        NotFound: the webhook has no such delivery.
        Conflict: it waits already, or is on its way.
    """
    job = await session.get(Job, delivery_id, with_for_update=True)
    if job is None or (job.project_id, job.schedule) != (project_id, queue_of(webhook_id)):
        raise NotFound(f"Webhook {webhook_id} has no delivery {delivery_id}.")
    if job.status in (RunStatus.QUEUED, RunStatus.RUNNING):
        raise Conflict(f"Delivery {delivery_id} is {job.status} already.")
    await session.execute(_requeue(col(Job.id) == delivery_id))
    await wake_couriers(session)


async def replay_since(
    session: AsyncSession, webhook_id: UUID, since: datetime, project_id: int
) -> int:
    """How many finished deliveries made since then wait again, the oldest first.

    Raises:
        Conflict: there are too many to be sent again at once.
    """
    finished = (
        select(col(Job.id))
        .where(
            *_of_webhook(webhook_id, project_id),
            col(Job.due_at) >= since,
            col(Job.status).not_in([RunStatus.QUEUED, RunStatus.RUNNING]),
        )
        .order_by(col(Job.due_at))
        .limit(MAX_REPLAYED + 1)
        .with_for_update(skip_locked=True)
    )
    ids = (await session.scalars(finished)).all()
    if len(ids) > MAX_REPLAYED:
        raise Conflict(
            f"More than {MAX_REPLAYED} deliveries were made since then: choose a later time."
        )
    if ids:
        await session.execute(_requeue(col(Job.id).in_(ids)))
        await wake_couriers(session)
    return len(ids)


def wait_before_next(job: Job) -> float | None:
    """Seconds until the attempt after this one, without jitter; None when this was the last."""
    left = job.max_attempts - job.attempt
    return None if left <= 0 else float(WAITS_S[max(0, len(WAITS_S) - left)])


def _requeue(which: ColumnElement[bool]) -> Any:
    """A full set of attempts; they are counted on, so that no attempt's number comes twice."""
    return (
        update(Job)
        .where(which)
        .values(
            status=RunStatus.QUEUED,
            run_after=func.now(),
            max_attempts=col(Job.attempt) + MAX_ATTEMPTS,
            finished_at=None,
            error=None,
            progress={},
        )
        .execution_options(synchronize_session=False)
    )


def _of_webhook(webhook_id: UUID, project_id: int) -> list[ColumnElement[bool]]:
    return [col(Job.project_id) == project_id, col(Job.schedule) == queue_of(webhook_id)]


def _waiting(webhook_id: UUID, kind: str) -> list[ColumnElement[bool]]:
    return [
        col(Job.queue) == queue_of(webhook_id),
        col(Job.status) == RunStatus.QUEUED,
        col(Job.params)["type"].astext == kind,
    ]


def _when(webhook_id: UUID, message: Message) -> ColumnElement[Any]:
    """Now; or, while a delivery of the same type waits for a retry, with it but within minutes."""
    if not message.is_foldable:
        return func.now()
    retry_at = (
        select(func.max(col(Job.run_after)))
        .where(*_waiting(webhook_id, message.type), col(Job.attempt) > 0)
        .scalar_subquery()
    )
    longest = func.now() + cast(literal(timedelta(seconds=GATHER_S)), Interval)
    return func.least(func.greatest(retry_at, func.now()), longest)


async def _fold_into_waiting(
    session: AsyncSession, webhook_id: UUID, message: Message
) -> UUID | None:
    """The delivery of the same type that nobody has tried yet, with the new ids added."""
    untried = (
        select(col(Job.id), col(Job.params))
        .where(*_waiting(webhook_id, message.type), col(Job.attempt) == 0)
        .order_by(col(Job.run_after))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = (await session.execute(untried)).first()
    if found is None:
        return None
    delivery_id, params = found
    merged = params | {"data": merge_ids(params["data"], message.data)}
    await session.execute(
        update(Job)
        .where(col(Job.id) == delivery_id)
        .values(params=cast(literal(merged, JSONB), JSONB))
        .execution_options(synchronize_session=False)
    )
    return UUID(str(delivery_id))


def merge_ids(first: Json, second: Json) -> Json:
    """Counts added up, ids one after the other; `truncated` when there are more than are listed."""
    ids = [*first["ids"], *second["ids"]]
    count = first["count"] + second["count"]
    return {"count": count, "ids": ids[:MAX_IDS], "truncated": count > MAX_IDS}
