"""Hands out the events of the outbox: each becomes deliveries exactly once.

One transaction takes events, makes the jobs and marks the events, so that a process killed at any
point leaves either all of it or none. Only events of settled transactions are taken, and only one
process takes them at a time, which keeps what happens together in one delivery. Nobody who posts
waits for any of this, nor tells of it: the outbox is looked at every second.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.feedback_api.webhooks.deliveries import (
    MAX_IDS,
    Message,
    add_delivery,
    wake_couriers,
)
from shared.db.columns import Json
from shared.db.tables import Webhook
from shared.ids import is_plain

BATCH = 200
BACKLOG_SHOWN = 100_000

_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('heed outbox', 0))")
_TAKE = text("""
UPDATE rlhf_outbox SET dispatched_at = now() WHERE id IN (
    SELECT id FROM rlhf_outbox
    WHERE dispatched_at IS NULL AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY id LIMIT :batch FOR UPDATE SKIP LOCKED
) RETURNING id, project_id, event,
    event LIKE '%.created' AND jsonb_typeof(payload -> 'ids') IS NOT DISTINCT FROM 'array'
""")
# The database folds: a busy second holds more ids than the event loop should ever see.
_FOLDED = text("""
SELECT project_id, event, max(event_at) AS event_at, count(*) AS rows,
    (array_agg(row_id ORDER BY event_id, place))[1:(:max_ids)] AS ids
FROM (
    SELECT outbox.project_id, outbox.event, outbox.created_at AS event_at, outbox.id AS event_id,
        listed.row_id, listed.place
    FROM rlhf_outbox AS outbox,
        jsonb_array_elements_text(outbox.payload -> 'ids') WITH ORDINALITY AS listed (row_id, place)
    WHERE outbox.id = ANY(:ids)
) AS told
GROUP BY project_id, event
""")
_SINGLE = text("""
SELECT project_id, event, created_at AS event_at, payload FROM rlhf_outbox
WHERE id = ANY(:ids) ORDER BY id
""")
_BACKLOG = text("""
SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(created_at)), 0) AS oldest_s
FROM (SELECT created_at FROM rlhf_outbox WHERE dispatched_at IS NULL ORDER BY id LIMIT :most) AS w
""")


class Told(NamedTuple):
    """An event that was taken from the outbox."""

    id: int
    project_id: int
    event: str
    is_foldable: bool


@dataclass
class Dispatcher:
    """Takes events and makes deliveries, and counts both."""

    sessions: async_sessionmaker[AsyncSession]
    registry: CollectorRegistry
    dispatched: Counter = field(init=False)
    waiting: Gauge = field(init=False)
    oldest_s: Gauge = field(init=False)

    def __post_init__(self) -> None:
        registry = self.registry
        self.dispatched = Counter(
            "heed_outbox_dispatched", "Events handed out, by event.", ["event"], registry=registry
        )
        self.waiting = Gauge("heed_outbox_waiting", "Events that wait.", registry=registry)
        self.oldest_s = Gauge(
            "heed_outbox_oldest_seconds", "Age of the oldest event that waits.", registry=registry
        )

    async def drain(self) -> int:
        """Hand out what is there; how many events that was."""
        handed_out = 0
        while taken := await self._dispatch():
            handed_out += taken
            if taken < BATCH:
                break
        return handed_out

    async def measure(self) -> None:
        """Set the gauges."""
        async with self.sessions() as session:
            backlog = (await session.execute(_BACKLOG, {"most": BACKLOG_SHOWN})).one()
        self.waiting.set(backlog.events)
        self.oldest_s.set(float(backlog.oldest_s))

    async def _dispatch(self) -> int:
        async with self.sessions.begin() as session:
            taken = await dispatch(session)
        for told in taken:
            self.dispatched.labels(told.event).inc()
        return len(taken)


async def dispatch(session: AsyncSession) -> list[Told]:
    """The oldest events, now marked, and their deliveries, all in the caller's transaction.

    None while another process is at it.
    """
    if not await session.scalar(_LOCK):
        return []
    rows = await session.execute(_TAKE, {"batch": BATCH})
    taken = [Told(*row) for row in rows]
    listeners = await _listeners(session, {told.project_id for told in taken})
    wanted = [told for told in taken if _hearing(listeners, told.project_id, told.event)]
    if wanted:
        for project_id, message in await _messages(session, wanted):
            for webhook in _hearing(listeners, project_id, message.type):
                await add_delivery(session, webhook.id, message, project_id=project_id)
        await wake_couriers(session)
    return taken


async def _listeners(session: AsyncSession, projects: set[int]) -> dict[int, list[Webhook]]:
    """The enabled webhooks of these projects, locked against being removed meanwhile."""
    if not projects:
        return {}
    statement = (
        select(Webhook)
        .where(col(Webhook.enabled), col(Webhook.project_id).in_(projects))
        .order_by(col(Webhook.id))
        .with_for_update(read=True, key_share=True)
    )
    found: dict[int, list[Webhook]] = defaultdict(list)
    for webhook in await session.scalars(statement):
        found[webhook.project_id].append(webhook)
    return found


def _hearing(listeners: dict[int, list[Webhook]], project_id: int, event: str) -> Sequence[Webhook]:
    of_project = listeners.get(project_id, [])
    return [webhook for webhook in of_project if not webhook.events or event in webhook.events]


async def _messages(session: AsyncSession, wanted: Iterable[Told]) -> list[tuple[int, Message]]:
    """What to tell, with its project: folded where several events say the same of other rows."""
    ids: dict[bool, list[int]] = {True: [], False: []}
    for told in wanted:
        ids[told.is_foldable].append(told.id)
    folded = await session.execute(_FOLDED, {"ids": ids[True], "max_ids": MAX_IDS})
    single = await session.execute(_SINGLE, {"ids": ids[False]})
    return [_message(row, _counted(row.ids, row.rows)) for row in folded] + [
        _message(row, ids_and_counts(row.payload)) for row in single
    ]


def _message(row: Any, data: Json) -> tuple[int, Message]:
    moment: datetime = row.event_at
    return row.project_id, Message(row.event, moment, data)


def _counted(ids: list[str], count: int) -> Json:
    return {"count": count, "ids": ids, "truncated": count > len(ids)}


def ids_and_counts(payload: Any) -> Any:
    """The payload without any text that is not an id: whoever announces, no prompt leaves."""
    if isinstance(payload, dict):
        kept = {key: ids_and_counts(value) for key, value in payload.items()}
        return {key: value for key, value in kept.items() if value is not None}
    if isinstance(payload, list):
        return [kept for item in payload[:MAX_IDS] if (kept := ids_and_counts(item)) is not None]
    if isinstance(payload, str):
        return payload if is_plain(payload) else None
    return payload
