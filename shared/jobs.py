"""Work that waits in a table: training runs and small jobs, claimed by whoever comes first.

The row is the queue entry. A claim counts `attempt` up, and every later write names the attempt it
belongs to, so a worker that was believed dead cannot overwrite what its successor does.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict, TypeVar, Unpack

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    and_,
    case,
    extract,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.tables import Job, TrainingRun
from shared.errors import Conflict, NotFound, RunInterrupted
from shared.ids import new_id

Work = TypeVar("Work", TrainingRun, Job)

CHANNEL = "heed_work"
FOREGROUND = "foreground"  # the queue of runs that a person's own terminal executes
STALE_AFTER_S = 60
_FIRST_RETRY_S = 5
_ERROR_CHARS = 4000
_FRESH = {"synchronize_session": False, "populate_existing": True}
_UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING)


class Placement(TypedDict, total=False):
    """Where and when work waits; every key has a default in the table."""

    project_id: int
    queue: str
    priority: int
    dedupe_key: str | None
    run_after: datetime
    max_attempts: int
    created_by: str | None
    schedule: str | None
    due_at: datetime | None


@dataclass(frozen=True)
class Control:
    """What the queue tells whoever works on a row."""

    cancel_requested: bool


async def enqueue(
    session: AsyncSession,
    table: type[Work],
    *,
    kind: str,
    params: Json,
    **placement: Unpack[Placement],
) -> uuid.UUID:
    """The id of the waiting row: a new one, or the one that waits under the same `dedupe_key`."""
    values = {"id": new_id(), "kind": kind, "params": params, **placement}
    added: uuid.UUID | None = await session.scalar(
        insert(table)
        .values(**values)
        .on_conflict_do_nothing(
            index_elements=["project_id", "dedupe_key"],
            index_where=text("status = 'queued'"),  # a literal: a plan for any value fits no index
        )
        .returning(col(table.id))
    )
    if added is None:
        return await _waiting_under(session, table, placement)
    await session.execute(select(func.pg_notify(CHANNEL, placement.get("queue", "cpu"))))
    return added


async def start_foreground(
    session: AsyncSession,
    table: type[Work],
    *,
    kind: str,
    params: Json,
    owner: str,
    created_by: str,
    **known: object,
) -> Work:
    """A row that this process works on at once; no worker ever claims it.

    `known` is what else its table keeps, such as the `code_version` of a training run.
    """
    values = {
        "id": new_id(),
        "kind": kind,
        "params": params,
        "queue": FOREGROUND,
        "status": RunStatus.RUNNING,
        "attempt": 1,
        "max_attempts": 1,
        "owner": owner,
        "created_by": created_by,
        **known,
        **_claimed_now(STALE_AFTER_S),
    }
    added: Work = (await session.scalars(insert(table).values(**values).returning(table))).one()
    return added


async def claim(
    session: AsyncSession,
    table: type[Work],
    *,
    queues: Sequence[str],
    owner: str,
    lease_s: float = STALE_AFTER_S,
    **known: object,
) -> Work | None:
    """The next row of these queues, now this owner's, or None when nothing is due.

    Rows whose lease ran out are taken like waiting ones, until their attempts are used up.
    `known` is what else its table keeps, such as the `code_version` of a training run.
    """
    await _close_exhausted(session, table, col(table.queue).in_(queues))
    due = or_(col(table.status) == RunStatus.QUEUED, _expired(table))
    candidate = (
        select(col(table.id))
        .where(
            due,
            col(table.queue).in_(queues),
            col(table.run_after) <= func.now(),
            col(table.attempt) < col(table.max_attempts),
            col(table.cancel_requested).is_(False),
        )
        .order_by(col(table.priority).desc(), col(table.run_after), col(table.id))
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    values = {
        "status": RunStatus.RUNNING,
        "owner": owner,
        "attempt": col(table.attempt) + 1,
        "progress": {},
        **known,
        **_claimed_now(lease_s),
    }
    statement = update(table).where(col(table.id) == candidate).values(**values).returning(table)
    return await session.scalar(statement, execution_options=_FRESH)


async def renew(
    session: AsyncSession,
    row: Work,
    *,
    lease_s: float = STALE_AFTER_S,
    **values: object,
) -> Control:
    """Keep the claim, store what else is known (progress, …), and hear whether to stop.

    Raises:
        RunInterrupted: the claim is somebody else's by now; stop without writing anything.
    """
    table = type(row)
    lease: dict[str, Any] = {
        "heartbeat_at": func.now(),
        "lease_until": func.now() + timedelta(seconds=lease_s),
    }
    statement = update(table).where(_held(row)).values(**values, **lease)
    asked = await session.scalar(statement.returning(col(table.cancel_requested)))
    if asked is None:
        raise _lost(row)
    return Control(cancel_requested=asked)


async def finish(session: AsyncSession, row: Work, status: RunStatus, **values: object) -> None:
    """Close the row under its claim, with what else its table keeps (metrics, error, …).

    Raises:
        RunInterrupted: the claim is somebody else's by now; nothing was written.
    """
    table = type(row)
    statement = update(table).where(_held(row))
    closed = await session.scalar(
        statement.values(
            status=status,
            finished_at=func.now(),
            lease_until=None,
            **_lasted(table, func.now()),
            **values,
        ).returning(col(table.id))
    )
    if closed is None:
        raise _lost(row)


async def retry(
    session: AsyncSession,
    row: Work,
    error: str,
    *,
    wait_s: float | None = None,
    **values: object,
) -> RunStatus:
    """After a crash: wait for the next attempt, or fail when this was the last one.

    Without `wait_s` the wait is 5 s after the first attempt and four times longer after each.
    `values` are what else is known of the attempt (progress, …).

    Raises:
        RunInterrupted: the claim is somebody else's by now; nothing was written.
    """
    known = {**values, "error": error[-_ERROR_CHARS:]}
    if row.attempt >= row.max_attempts:
        await finish(session, row, RunStatus.FAILED, **known)
        return RunStatus.FAILED
    seconds = _FIRST_RETRY_S * 4 ** (row.attempt - 1) if wait_s is None else wait_s
    await _requeue(session, row, run_after=func.now() + timedelta(seconds=seconds), **known)
    return RunStatus.QUEUED


async def release(session: AsyncSession, row: Work) -> None:
    """Give the claim back, as a worker does that is told to stop; the attempt does not count."""
    await _requeue(session, row, max_attempts=row.max_attempts + 1)


async def cancel(session: AsyncSession, table: type[Work], row_id: uuid.UUID) -> RunStatus:
    """Cancel waiting work at once, or ask whoever works on it to stop; the status from now on.

    Raises:
        NotFound: there is no such row.
        Conflict: it is finished already.
    """
    row = await session.get(table, row_id, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no {_noun(table)} {row_id}.")
    if row.status not in _UNFINISHED:
        raise Conflict(f"The {_noun(table)} {row_id} is {row.status} already.")
    values: dict[str, Any] = {"cancel_requested": True}
    if row.status == RunStatus.QUEUED:
        values |= {"status": RunStatus.CANCELLED, "finished_at": func.now()}
    await session.execute(update(table).where(col(table.id) == row_id).values(**values))
    return RunStatus(values.get("status", row.status))


async def mark_interrupted(
    session: AsyncSession, table: type[Work], older_than_s: float = STALE_AFTER_S
) -> list[Work]:
    """Rows said to be running of which nothing was heard for so long, now `interrupted`.

    Those that nobody would take again are closed as failed or cancelled instead.
    """
    await _close_exhausted(session, table, col(table.queue) != FOREGROUND)
    silent_since = func.now() - timedelta(seconds=older_than_s)
    statement = (
        update(table)
        .where(col(table.status) == RunStatus.RUNNING, col(table.heartbeat_at) < silent_since)
        .values(
            status=RunStatus.INTERRUPTED,
            finished_at=func.now(),
            lease_until=None,
            **_lasted(table, col(table.heartbeat_at)),
        )
        .returning(table)
    )
    return list((await session.scalars(statement, execution_options=_FRESH)).all())


async def requeue_interrupted(
    session: AsyncSession, table: type[Work], queues: Sequence[str]
) -> None:
    """Let interrupted work of these queues wait for its next attempt, if one is left."""
    await session.execute(
        update(table)
        .where(
            col(table.status) == RunStatus.INTERRUPTED,
            col(table.queue).in_(queues),
            col(table.attempt) < col(table.max_attempts),
            col(table.cancel_requested).is_(False),
        )
        .values(status=RunStatus.QUEUED, finished_at=None)
    )


async def _waiting_under(
    session: AsyncSession, table: type[Work], placement: Placement
) -> uuid.UUID:
    waiting = await session.scalar(
        select(col(table.id)).where(
            col(table.project_id) == placement.get("project_id", 1),
            col(table.dedupe_key) == placement.get("dedupe_key"),
            col(table.status) == RunStatus.QUEUED,
        )
    )
    if waiting is None:
        raise Conflict(f"The same {_noun(table)} was claimed this very moment; ask again.")
    return waiting


async def _close_exhausted(
    session: AsyncSession, table: type[Work], of_queues: ColumnElement[bool]
) -> None:
    """Close rows whose worker went silent and which nobody will take again."""
    gone = col(table.cancel_requested) | (col(table.attempt) >= col(table.max_attempts))
    await session.execute(
        update(table)
        .where(_expired(table), gone, of_queues)
        .values(
            status=_case_cancelled(table),
            finished_at=func.now(),
            lease_until=None,
            error=func.coalesce(col(table.error), "The worker died in the last attempt."),
            **_lasted(table, col(table.heartbeat_at)),
        )
    )


def _case_cancelled(table: type[Work]) -> ColumnElement[str]:
    return case((col(table.cancel_requested), RunStatus.CANCELLED), else_=RunStatus.FAILED)


async def _requeue(session: AsyncSession, row: Work, **values: object) -> None:
    table = type(row)
    statement = update(table).where(_held(row))
    back = await session.scalar(
        statement.values(
            status=RunStatus.QUEUED,
            lease_until=None,
            owner=None,
            **_lasted(table, func.now()),
            **values,
        ).returning(col(table.id))
    )
    if back is None:
        raise _lost(row)


def _held(row: Work) -> ColumnElement[bool]:
    """The fence: this row, in this attempt, still running."""
    table = type(row)
    return and_(
        col(table.id) == row.id,
        col(table.attempt) == row.attempt,
        col(table.status) == RunStatus.RUNNING,
    )


def _expired(table: type[Work]) -> ColumnElement[bool]:
    running = col(table.status) == RunStatus.RUNNING
    return and_(running, col(table.lease_until) < func.now())


def _claimed_now(lease_s: float) -> dict[str, Any]:
    return {
        "started_at": func.now(),
        "heartbeat_at": func.now(),
        "lease_until": func.now() + timedelta(seconds=lease_s),
        "finished_at": None,
    }


def _lasted(table: type[Work], until: SQLColumnExpression[Any]) -> dict[str, Any]:
    """How many seconds an attempt took; of a silent one, until it was last heard of."""
    if table is not TrainingRun:
        return {}
    seconds = extract("epoch", until - col(table.started_at))
    return {"duration_s": func.greatest(seconds, 0)}


def _lost(row: Work) -> RunInterrupted:
    return RunInterrupted(
        f"Attempt {row.attempt} of {_noun(type(row))} {row.id} lost its claim; it was taken "
        "over, cancelled or marked interrupted."
    )


def _noun(table: type[Work]) -> str:
    return "training run" if table is TrainingRun else "job"
