"""Streams stored rows out of the database, those of one source row together, in the file's order.

The tables are read side by side through server-side cursors on one snapshot of the database, so
that no more than a few hundred rows are in memory, however many there are.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Numeric, Select, Text, and_, case, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from heed_cli.exchange.posts import MARK
from heed_cli.exchange.stored import Group
from shared.contracts.values import PersonKind
from shared.db.consents import consented_interactions, consented_posts, has_withdrawn
from shared.db.tables import Feedback, InteractionRecord, Preference
from shared.privacy.fields import FieldCipher

_AT_ONCE = 200
_TABLES: dict[str, Any] = {
    "feedback": Feedback,
    "preferences": Preference,
    "interactions": InteractionRecord,
}
_EXCHANGE = {"exchange_prompt": "user_prompt", "exchange_response": "ai_response"}
Key = tuple[Any, ...]
Keyed = tuple[Key, str, dict[str, Any]]


@dataclass(frozen=True)
class Selection:
    """Which rows of a project to export."""

    project_id: int = 1
    is_consented: bool = True
    task: str | None = None
    agent: str | None = None
    source: str | None = None
    since: datetime | None = None


async def read_groups(
    session: AsyncSession, cipher: FieldCipher, wanted: Selection, tables: Sequence[str]
) -> AsyncIterator[Group]:
    """The rows of each source row; those that were not imported follow, by what they are about.

    A row of which a text was destroyed with its key is left out, like an erased one.
    """
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(aclosing(_stream(session, cipher, wanted, name)))
            for name in tables
        ]
        group, at = Group(), None
        async with aclosing(_merged(streams)) as rows:
            async for key, name, row in rows:
                if at is not None and key != at:
                    yield group.in_order()
                    group = Group()
                at = key
                getattr(group, name).append(row)
        if at is not None:
            yield group.in_order()


async def _merged(streams: Sequence[AsyncGenerator[Keyed, None]]) -> AsyncGenerator[Keyed, None]:
    """The rows of sorted streams in one order."""
    heads = {place: await anext(stream, None) for place, stream in enumerate(streams)}
    while waiting := [(head[0], place) for place, head in heads.items() if head is not None]:
        _, place = min(waiting)
        head = heads[place]
        assert head is not None
        yield head
        heads[place] = await anext(streams[place], None)


async def _stream(
    session: AsyncSession, cipher: FieldCipher, wanted: Selection, name: str
) -> AsyncGenerator[Keyed, None]:
    table = _TABLES[name]
    result = await session.stream(
        _statement(name, wanted), execution_options={"yield_per": _AT_ONCE}
    )
    async for part in result.mappings().partitions(_AT_ONCE):
        rows = [dict(row) for row in part]
        lost = await cipher.unseal(table.__tablename__, rows)
        if name == "feedback":
            lost |= await _add_exchanges(cipher, rows)
        for place, row in enumerate(rows):
            if place not in lost:
                yield (row["order_source"], row["order_row"], row["order_target"]), name, row


async def _add_exchanges(cipher: FieldCipher, rows: list[dict[str, Any]]) -> set[int]:
    """Take a missing prompt or response from the recorded interaction the feedback is about."""
    recorded = [
        {"project_id": row["project_id"]}
        | {theirs: row[ours] for ours, theirs in _EXCHANGE.items()}
        for row in rows
    ]
    lost = await cipher.unseal(InteractionRecord.__tablename__, recorded)
    needed = set()
    for place, (row, exchange) in enumerate(zip(rows, recorded, strict=True)):
        if row["user_query"] is None or row["agent_response"] is None:
            needed.add(place)
            row["user_query"] = row["user_query"] or exchange["user_prompt"]
            row["agent_response"] = row["agent_response"] or exchange["ai_response"]
    return lost & needed


def _statement(name: str, wanted: Selection) -> Select[Any]:
    """Sorted as Python sorts the keys: by source, row number and target."""
    table = _TABLES[name]
    mark = col(table.context)[MARK]
    is_imported = and_(
        func.jsonb_typeof(mark["source"]) == "string", func.jsonb_typeof(mark["row"]) == "number"
    )
    target = cast(col(table.id), Text) if name == "interactions" else col(table.target)
    order = (
        case((is_imported, mark["source"].astext), else_="").collate("C").label("order_source"),
        case((is_imported, cast(mark["row"].astext, Numeric)), else_=0).label("order_row"),
        case((is_imported, ""), else_=target).collate("C").label("order_target"),
    )
    born = col(table.created_at) if name == "interactions" else col(table.seq)
    columns = [*table.__table__.c, *_exchange(name), *order]
    statement = select(*columns).where(*_conditions(name, wanted, is_imported))
    if name == "feedback":
        statement = statement.join(InteractionRecord, _same_interaction(), isouter=True)
    return statement.order_by(*order, born)


def _exchange(name: str) -> list[Any]:
    if name != "feedback":
        return []
    recorded = InteractionRecord.__table__.c  # type: ignore[attr-defined]
    return [recorded[theirs].label(ours) for ours, theirs in _EXCHANGE.items()]


def _same_interaction() -> ColumnElement[bool]:
    return and_(
        col(InteractionRecord.project_id) == col(Feedback.project_id),
        col(InteractionRecord.interaction_id) == col(Feedback.interaction_id),
    )


def _conditions(name: str, wanted: Selection, is_imported: ColumnElement[bool]) -> list[Any]:
    """Interactions are not judgements: only those that an import recorded are of use."""
    table = _TABLES[name]
    found = [col(table.project_id) == wanted.project_id]
    if wanted.is_consented:
        found += _consented(name, wanted.project_id)
    if name == "interactions":
        found.append(is_imported)
    if name == "feedback":
        found.append(col(Feedback.pending).is_(False))
    if wanted.task is not None and name != "interactions":
        found.append(col(table.task_type) == wanted.task)
    if wanted.agent is not None:
        found.append(col(table.agent_name) == wanted.agent)
    if wanted.source is not None:
        found += [is_imported, col(table.context)[MARK]["source"].astext == wanted.source]
    if wanted.since is not None:
        found.append(col(table.created_at) >= wanted.since)
    return found


def _consented(name: str, project_id: int) -> list[ColumnElement[bool]]:
    if name == "interactions":
        return consented_interactions(project_id)
    if name == "preferences":
        return consented_posts(Preference, project_id)
    subjects = col(InteractionRecord.subjects)
    return [
        *consented_posts(Feedback, project_id),
        func.coalesce(col(InteractionRecord.consent_training), true()),
        ~has_withdrawn(PersonKind.SUBJECT, project_id, subjects),
    ]
