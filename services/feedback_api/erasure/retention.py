"""Erases rows that were kept long enough, table by table, and drops whole months of the log.

Rows leave the way a person's rows do: with their receipts, out of every dataset, leaving an
erasure behind. But nothing is tainted by it, since it was right to learn from them while they
were kept. It happens once a day, so that snapshots are not rewritten every hour.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import any_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.feedback_api.config import RetainedTable
from services.feedback_api.erasure.holdings import (
    Held,
    hold,
    portions,
    read_recorded,
    recorded_rows,
    texts,
)
from services.feedback_api.erasure.recording import Cause, record
from services.feedback_api.erasure.removal import remove_held
from shared.contracts.values import ErasureKind
from shared.db.audit import audit
from shared.db.tables import (
    AuditEntry,
    Erasure,
    Feedback,
    FeedbackHistory,
    InteractionRecord,
    Preference,
    PreferenceHistory,
    Project,
)

AT_ONCE = 20_000  # rows of one transaction
_AGAIN_AFTER = timedelta(hours=20)
_ACTOR = "retention"
_VERSIONS: dict[str, Any] = {
    table.__tablename__: table
    for table in (Feedback, Preference, FeedbackHistory, PreferenceHistory)
}
_PARTITIONED = (
    AuditEntry.__tablename__,
    FeedbackHistory.__tablename__,
    PreferenceHistory.__tablename__,
)

Sessions = async_sessionmaker[AsyncSession]
Find = Callable[[AsyncSession, int, datetime], Awaitable[Held]]


async def expire_rows(sessions: Sessions, days: Mapping[RetainedTable, int]) -> Counter[str]:
    """How many rows of each table, and months of partitioned ones, were kept long enough."""
    gone: Counter[str] = Counter()
    for table, kept_days in days.items():
        before = datetime.now(UTC) - timedelta(days=kept_days)
        if table != AuditEntry.__tablename__:
            for project_id in await _projects_due(sessions, table):
                gone[table] += await _expire(sessions, table, project_id, before)
        if table in _PARTITIONED:
            gone[f"{table} months"] += await _drop_months(sessions, table, before)
    return +gone


async def _projects_due(sessions: Sessions, table: str) -> Sequence[int]:
    """Projects in which nothing of the table has expired today."""
    today = select(col(Erasure.id)).where(
        col(Erasure.project_id) == col(Project.id),
        col(Erasure.kind) == ErasureKind.RETENTION,
        col(Erasure.person) == table,
        col(Erasure.created_at) > func.now() - _AGAIN_AFTER,
    )
    async with sessions() as session:
        found = select(col(Project.id)).where(~today.exists()).order_by(col(Project.id))
        return (await session.scalars(found)).all()


async def _expire(sessions: Sessions, table: str, project_id: int, before: datetime) -> int:
    """In transactions of bounded size, each with an erasure of its own."""
    expired = 0
    while True:
        async with sessions.begin() as session:
            gone = await _expire_some(session, table, project_id, before)
        if not gone:
            return expired
        expired += gone


async def _expire_some(session: AsyncSession, table: str, project_id: int, before: datetime) -> int:
    name = f"retention:{project_id}:{table}"  # every process of the service comes here each hour
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    find = _find_interactions if table not in _VERSIONS else partial(_find_versions, table)
    held = await hold(session, lambda: find(session, project_id, before))
    if held.is_empty:
        return 0
    gone = await remove_held(session, held, project_id)
    cause = Cause(project_id, ErasureKind.RETENTION, table, actor=_ACTOR)
    await record(session, cause, held, gone)
    return gone[table]


async def _find_versions(
    name: str, session: AsyncSession, project_id: int, before: datetime
) -> Held:
    table = _VERSIONS[name]
    moment = col(table.superseded_at if hasattr(table, "superseded_at") else table.created_at)
    statement = (
        select(col(table.id), col(table.seq))
        .where(col(table.project_id) == project_id, moment < before)
        .order_by(moment, col(table.id))
        .limit(AT_ONCE)
    )
    held = Held()
    for row in (await session.execute(statement)).all():
        held.add(table, row.id, row.seq)
    return held


async def _find_interactions(session: AsyncSession, project_id: int, before: datetime) -> Held:
    """Feedback on them stays, without their texts: no dataset may keep these for it."""
    recorded = InteractionRecord
    statement = (
        recorded_rows()
        .where(col(recorded.project_id) == project_id, col(recorded.created_at) < before)
        .order_by(col(recorded.created_at), col(recorded.id))
        .limit(AT_ONCE)
    )
    held = Held(interactions=await read_recorded(session, statement))
    held.chats.update(one.interaction_id for one in held.interactions.values())
    for table in (Feedback, FeedbackHistory):
        for chats in portions(sorted(held.chats)):
            borrowed = select(col(table.id), col(table.seq)).where(
                col(table.project_id) == project_id,
                col(table.target) == any_(texts(chats)),
                or_(col(table.user_query).is_(None), col(table.agent_response).is_(None)),
            )
            held.bereft |= {row.id: row.seq for row in (await session.execute(borrowed)).all()}
    return held


async def _drop_months(sessions: Sessions, table: str, before: datetime) -> int:
    """Drop partitions that lie wholly before; those of a history only once they are empty."""
    is_log = table == AuditEntry.__tablename__
    async with sessions.begin() as session:
        drop = select(func.heed_drop_partitions(table, before, is_log))
        dropped = int(await session.scalar(drop) or 0)
        if dropped:
            detail = {"months": dropped, "before": before.isoformat(timespec="seconds")}
            audit(session, "partitions.drop", actor=_ACTOR, target=table, detail=detail)
        return dropped
