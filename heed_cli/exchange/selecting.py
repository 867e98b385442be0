"""Streams stored rows out of the database, those of one source row together, in the file's order.

The tables are read side by side through server-side cursors on one snapshot of the database, so
that no more than a few hundred rows are in memory, however many there are.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from heed_cli.exchange.choosing import EXCHANGE, TABLES, Selection, statement_of
from heed_cli.exchange.stored import Group
from shared.db.tables import InteractionRecord
from shared.privacy.fields import FieldCipher

_AT_ONCE = 200
Key = tuple[Any, ...]
Keyed = tuple[Key, str, dict[str, Any]]


async def read_groups(
    session: AsyncSession, cipher: FieldCipher, wanted: Selection, tables: Sequence[str]
) -> AsyncIterator[Group]:
    """The rows of each source row, behind those that were not imported, by what they are about.

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
    table = TABLES[name]
    result = await session.stream(
        statement_of(name, wanted), execution_options={"yield_per": _AT_ONCE}
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
        {"project_id": row["project_id"]} | {theirs: row[ours] for ours, theirs in EXCHANGE.items()}
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
