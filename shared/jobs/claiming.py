"""A claim on a row from its beginning to its end; every write names the attempt it belongs to."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import case, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import RunStatus
from shared.db.tables import TrainingRun
from shared.jobs.fence import (
    FRESH,
    STALE_AFTER_S,
    Control,
    Work,
    claimed_now,
    expired,
    held,
    lasted,
    lost,
)
from shared.jobs.silence import close_exhausted

_FIRST_RETRY_S = 5
_ERROR_CHARS = 4000


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
    await close_exhausted(session, table, col(table.queue).in_(queues))
    due = or_(col(table.status) == RunStatus.QUEUED, expired(table))
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
        **claimed_now(lease_s),
    }
    statement = update(table).where(col(table.id) == candidate).values(**values).returning(table)
    return await session.scalar(statement, execution_options=FRESH)


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
    statement = update(table).where(held(row)).values(**values, **lease)
    asked = await session.scalar(statement.returning(col(table.cancel_requested)))
    if asked is None:
        raise lost(row)
    return Control(cancel_requested=asked)


async def finish(session: AsyncSession, row: Work, status: RunStatus, **values: object) -> None:
    """Close the row under its claim, with what else its table keeps (metrics, error, …).

    Raises:
        RunInterrupted: the claim is somebody else's by now; nothing was written.
    """
    table = type(row)
    statement = update(table).where(held(row))
    closed = await session.scalar(
        statement.values(
            status=status,
            finished_at=func.now(),
            lease_until=None,
            **lasted(table, func.now()),
            **values,
        ).returning(col(table.id))
    )
    if closed is None:
        raise lost(row)


async def retry(
    session: AsyncSession,
    row: Work,
    error: str,
    *,
    wait_s: float | None = None,
    **values: object,
) -> RunStatus:
    """After a crash: wait for the next attempt, or fail when this was the last one.

    Work that somebody has cancelled meanwhile is cancelled instead.

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
    return await _requeue(session, row, run_after=func.now() + timedelta(seconds=seconds), **known)


async def release(session: AsyncSession, row: Work, *, wait_s: float = 0, **values: object) -> None:
    """Give the claim back, as a worker does that is told to stop; the attempt does not count.

    Work that somebody has cancelled meanwhile is cancelled.

    Raises:
        RunInterrupted: the claim is somebody else's by now; nothing was written.
    """
    later = func.now() + timedelta(seconds=wait_s)
    await _requeue(session, row, max_attempts=row.max_attempts + 1, run_after=later, **values)


async def keep_log(session: AsyncSession, run: TrainingRun, tail: str) -> None:
    """Store what an attempt last wrote, also after its end, unless a later one has begun."""
    await session.execute(
        update(TrainingRun)
        .where(col(TrainingRun.id) == run.id, col(TrainingRun.attempt) == run.attempt)
        .values(log_tail=tail)
    )


async def _requeue(session: AsyncSession, row: Work, **values: object) -> RunStatus:
    """The status from now on: nobody would ever claim what waits and is cancelled."""
    table = type(row)
    is_unwanted = col(table.cancel_requested)
    statement = update(table).where(held(row))
    status = await session.scalar(
        statement.values(
            status=case((is_unwanted, RunStatus.CANCELLED), else_=RunStatus.QUEUED),
            finished_at=case((is_unwanted, func.now()), else_=null()),
            lease_until=None,
            owner=None,
            **lasted(table, func.now()),
            **values,
        ).returning(col(table.status))
    )
    if status is None:
        raise lost(row)
    return RunStatus(status)
