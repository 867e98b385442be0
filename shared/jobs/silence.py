"""Work whose process went silent: closed, marked, or put back."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, case, func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import RunStatus
from shared.jobs.fence import FOREGROUND, FRESH, STALE_AFTER_S, Work, expired, lasted


async def mark_interrupted(
    session: AsyncSession, table: type[Work], older_than_s: float = STALE_AFTER_S
) -> list[Work]:
    """Rows said to be running of which nothing was heard for so long, now `interrupted`.

    Those that nobody would take again are closed as failed or cancelled instead.
    """
    await close_exhausted(session, table, col(table.queue) != FOREGROUND)
    silent_since = func.now() - timedelta(seconds=older_than_s)
    statement = (
        update(table)
        .where(col(table.status) == RunStatus.RUNNING, col(table.heartbeat_at) < silent_since)
        .values(
            status=RunStatus.INTERRUPTED,
            finished_at=func.now(),
            lease_until=None,
            **lasted(table, col(table.heartbeat_at)),
        )
        .returning(table)
    )
    return list((await session.scalars(statement, execution_options=FRESH)).all())


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


async def close_exhausted(
    session: AsyncSession, table: type[Work], of_queues: ColumnElement[bool]
) -> None:
    """Close rows whose worker went silent and which nobody will take again."""
    gone = col(table.cancel_requested) | (col(table.attempt) >= col(table.max_attempts))
    await session.execute(
        update(table)
        .where(expired(table), gone, of_queues)
        .values(
            status=_case_cancelled(table),
            finished_at=func.now(),
            lease_until=None,
            error=func.coalesce(col(table.error), "The worker died in the last attempt."),
            **lasted(table, col(table.heartbeat_at)),
        )
    )


def _case_cancelled(table: type[Work]) -> ColumnElement[str]:
    return case((col(table.cancel_requested), RunStatus.CANCELLED), else_=RunStatus.FAILED)
