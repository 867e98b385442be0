"""All reads of the feedback API."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Row, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.feedback_api.writer import FEEDBACK, PREFERENCE
from shared.db.tables import (
    AuditEntry,
    Feedback,
    FeedbackHistory,
    InteractionRecord,
    Preference,
    PreferenceHistory,
    ReasoningStep,
    TrainingRun,
)
from shared.errors import Conflict, InvalidInput, NotFound
from shared.privacy.fields import FieldCipher

T = TypeVar("T", Feedback, Preference, InteractionRecord, AuditEntry, TrainingRun)

MAX_HISTORY = 100

# One scale for all: human_rating as it is, stars 1..5 as 0..1, a thumb as 1 or 0.
_HALVES = text("""
WITH scored AS (
    SELECT task_type, agent_name, "timestamp", id, coalesce(
        human_rating, (rating - 1) / 4.0,
        CASE thumbs WHEN 'up' THEN 1.0 WHEN 'down' THEN 0.0 END) AS value
    FROM rlhf_feedback WHERE project_id = :project_id AND "timestamp" >= :since
), named AS (
    SELECT 'task' AS kind, task_type AS name, "timestamp", id, value FROM scored
    WHERE task_type IS NOT NULL
    UNION ALL
    SELECT 'agent', agent_name, "timestamp", id, value FROM scored WHERE agent_name IS NOT NULL
    UNION ALL
    SELECT 'all', 'all', "timestamp", id, value FROM scored
), halved AS (
    SELECT kind, name, value,
           ntile(2) OVER (PARTITION BY kind, name, value IS NULL ORDER BY "timestamp", id) AS half
    FROM named
)
SELECT kind, name, half, count(*) AS posts, count(value) AS rated,
       avg(value)::float8 AS mean, var_samp(value)::float8 AS variance
FROM halved GROUP BY kind, name, half ORDER BY kind, name, half
""")
_DISTRIBUTION = text("""
SELECT CASE WHEN rating IS NOT NULL THEN rating::text ELSE thumbs END AS value, count(*) AS posts
FROM rlhf_feedback
WHERE project_id = :project_id AND "timestamp" >= :since
  AND (rating IS NOT NULL OR thumbs IS NOT NULL)
GROUP BY 1
""")
_VOLUME = text("""
SELECT day, sum(feedback)::int AS feedback, sum(preferences)::int AS preferences FROM (
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date AS day, count(*) AS feedback, 0 AS preferences
    FROM rlhf_feedback WHERE project_id = :project_id AND "timestamp" >= :since GROUP BY 1
    UNION ALL
    SELECT ("timestamp" AT TIME ZONE 'UTC')::date, 0, count(*)
    FROM rlhf_preferences WHERE project_id = :project_id AND "timestamp" >= :since GROUP BY 1
) AS counted GROUP BY day ORDER BY day
""")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows, newest first, and where the next page begins."""

    rows: Sequence[T]
    next_cursor: str | None


async def read_page(
    session: AsyncSession,
    table: type[T],
    wanted: Sequence[ColumnElement[bool]],
    *,
    cursor: str | None,
    limit: int,
) -> Page[T]:
    """The newest rows that meet all conditions, continuing after the cursor.

    Raises:
        InvalidInput: the cursor is not one this API gave out.
    """
    place = tuple_(col(table.created_at), col(table.id))
    statement = select(table).where(*wanted).order_by(place.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(place < tuple_(*_read_cursor(cursor)))
    rows = list(await session.scalars(statement))
    more = len(rows) > limit
    return Page(rows[:limit], _cursor(rows[limit - 1]) if more else None)


def conditions(
    table: type[T], project_id: int, filters: dict[str, Any]
) -> list[ColumnElement[bool]]:
    """The WHERE of a list; `since` is compared with when the row version was stored."""
    given = {name: value for name, value in filters.items() if value is not None}
    since = given.pop("since", None)
    wanted: list[ColumnElement[bool]] = [
        col(getattr(table, name)) == value for name, value in given.items()
    ]
    if since is not None:
        wanted.append(col(table.created_at) >= since)
    return [col(table.project_id) == project_id, *wanted]


def _cursor(row: Feedback | Preference | InteractionRecord | AuditEntry | TrainingRun) -> str:
    place = f"{row.created_at.astimezone(UTC).isoformat()} {row.id}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, row_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(moment), UUID(row_id)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            "The cursor is not one of this API; start again without it.", code="invalid_cursor"
        ) from None


async def find_feedback(
    session: AsyncSession, project_id: int, feedback_id: str
) -> tuple[Feedback, list[FeedbackHistory]]:
    """The live row of a feedback id and its earlier versions, newest first.

    An id whose row was superseded under another id leads to the row that is live now.

    Raises:
        NotFound: the project has no such feedback.
    """
    live, earlier = await _find(session, Feedback, FeedbackHistory, (project_id, feedback_id))
    return live, earlier


async def find_preference(
    session: AsyncSession, project_id: int, preference_id: str
) -> tuple[Preference, list[PreferenceHistory]]:
    """The same for a preference.

    Raises:
        NotFound: the project has no such preference.
    """
    live, earlier = await _find(session, Preference, PreferenceHistory, (project_id, preference_id))
    return live, earlier


async def _find(
    session: AsyncSession, table: Any, history: Any, key: tuple[int, str]
) -> tuple[Any, list[Any]]:
    project_id, client_id = key
    kind = FEEDBACK if table is Feedback else PREFERENCE
    found = await _by_id(session, table, kind.id_column, key)
    if found is None:
        found = await _by_version(session, table, key)
        client_id = getattr(found, kind.id_column, client_id)
    if found is None:
        old = await _by_id(session, history, kind.id_column, key)
        found = old and await _by_key(session, table, kind.natural_key, old)
    if found is None:
        raise NotFound(f"There is no {kind.name} with this id in the project of the key.")
    same_id = col(getattr(history, kind.id_column)) == client_id
    condition = (col(history.project_id) == project_id) & same_id
    if found.clinician_id is not None:
        condition |= _same(history, kind.natural_key, found)
    earlier = select(history).where(condition).order_by(col(history.seq).desc()).limit(MAX_HISTORY)
    return found, list(await session.scalars(earlier))


async def _by_id(session: AsyncSession, table: Any, id_column: str, key: tuple[int, str]) -> Any:
    project_id, client_id = key
    statement = select(table).where(
        col(table.project_id) == project_id, col(getattr(table, id_column)) == client_id
    )
    return (await session.scalars(statement.order_by(col(table.seq).desc()).limit(1))).first()


async def _by_version(session: AsyncSession, table: Any, key: tuple[int, str]) -> Any:
    """The live row under the id of its version, by which events name it."""
    project_id, given = key
    try:
        version = UUID(given)
    except ValueError:
        return None
    mine = select(table).where(col(table.project_id) == project_id, col(table.id) == version)
    return (await session.scalars(mine)).first()


async def _by_key(session: AsyncSession, table: Any, names: Sequence[str], row: Any) -> Any:
    return (await session.scalars(select(table).where(_same(table, names, row)))).first()


def _same(table: Any, names: Sequence[str], row: Any) -> ColumnElement[bool]:
    columns = tuple_(*(col(getattr(table, name)) for name in names))
    return columns == tuple_(*(getattr(row, name) for name in names))


async def find_interaction(
    session: AsyncSession, project_id: int, interaction_id: str
) -> InteractionRecord:
    """The recorded interaction.

    Raises:
        NotFound: the project has no such interaction.
    """
    statement = select(InteractionRecord).where(
        col(InteractionRecord.project_id) == project_id,
        col(InteractionRecord.interaction_id) == interaction_id,
    )
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise NotFound("There is no interaction with this id in the project of the key.")
    return found


async def read_steps(session: AsyncSession, project_id: int, chat_id: str) -> list[ReasoningStep]:
    """The reasoning steps of an interaction, in order."""
    statement = select(ReasoningStep).where(
        col(ReasoningStep.project_id) == project_id, col(ReasoningStep.chat_id) == chat_id
    )
    return list(await session.scalars(statement.order_by(col(ReasoningStep.step_order))))


async def add_steps(
    session: AsyncSession, steps: Sequence[ReasoningStep], cipher: FieldCipher
) -> bool:
    """Store the steps; whether any of them is new. Storing the same step again changes nothing.

    A step that is sealed twice looks different each time: what is compared is what was sealed.

    Raises:
        Conflict: a step with this id or order is stored with another content.
    """
    is_new = False
    for step in sorted(steps, key=lambda step: (step.chat_id, step.step_order, step.id)):
        values = step.model_dump(exclude={"created_at"})
        statement = insert(ReasoningStep).values(values).on_conflict_do_nothing()
        added = await session.scalar(statement.returning(col(ReasoningStep.id)))
        is_new |= added is not None
        if added is None:
            stored = await session.get(ReasoningStep, (step.project_id, step.id))
            if stored is None or not await _is_same(stored, values, cipher):
                raise Conflict(
                    "A step with this id or order is stored with another content; "
                    "a recorded step never changes."
                )
    return is_new


async def _is_same(stored: ReasoningStep, values: dict[str, Any], cipher: FieldCipher) -> bool:
    both = [stored.model_dump(exclude={"created_at"}), dict(values)]
    await cipher.unseal("reasoning_steps", both)
    return both[0] == both[1]


async def read_halves(
    session: AsyncSession, project_id: int, since: datetime
) -> Sequence[Row[Any]]:
    """Count, mean and variance of the earlier and later half of the ratings of each task and agent.

    Columns: kind (`task`, `agent` or `all`), name, half (1 or 2), posts, rated, mean, variance.
    """
    where = {"project_id": project_id, "since": since}
    return (await session.execute(_HALVES, where)).all()


async def count_values(session: AsyncSession, project_id: int, since: datetime) -> dict[str, int]:
    """How many live posts gave each number of stars or each thumb."""
    where = {"project_id": project_id, "since": since}
    return {row.value: row.posts for row in await session.execute(_DISTRIBUTION, where)}


async def count_days(session: AsyncSession, project_id: int, since: datetime) -> Sequence[Row[Any]]:
    """Live posts of each day, UTC. Columns: day, feedback, preferences."""
    where = {"project_id": project_id, "since": since}
    return (await session.execute(_VOLUME, where)).all()
