"""Looks at every schedule and enqueues what is due.

A schedule's row is locked while it is looked at and others leave it out, and what it enqueues, its
next due time and its watermark are one transaction: a scheduler that dies at any point leaves all
of it or nothing. So any number of schedulers start each due run once.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.trainer.schedules.tallies import Key, Tallies
from shared.contracts.monitoring import KIND as MONITORING
from shared.contracts.schedules import Firing
from shared.contracts.training import TrainingRequest
from shared.db.faults import reaching_database
from shared.db.tables import Job, Schedule, TrainingRun
from shared.errors import DatabaseUnavailable
from shared.jobs import Placed, Placement, pending_key, place
from shared.logs import get_logger
from shared.schedules.due import next_due
from shared.schedules.samples import threshold_of

log = get_logger("scheduler")


class Fired(NamedTuple):
    """A schedule that was due, and what came of it.

    `id` is that of the run or job: a new one, or the one that waits already; None with too few
    samples.
    """

    project_id: int
    name: str
    due_at: datetime
    outcome: Firing
    id: uuid.UUID | None


@dataclass
class Scheduler:
    """One of any number of schedulers; remembers what it has counted, and nothing that matters."""

    sessions: async_sessionmaker[AsyncSession]
    tallies: Tallies = field(default_factory=Tallies)

    async def tick(self, now: datetime) -> list[Fired]:
        """Enqueue what is due at this moment; times that were missed are made up for once.

        Raises:
            DatabaseUnavailable: Postgres cannot be reached.
        """
        with reaching_database():
            async with self.sessions() as session:
                keys = await _keys(session, now)
        self.tallies.forget_all_but(set(keys))
        fired = []
        for key in keys:
            with _holding_up_no_other(key):
                async with self.sessions.begin() as session:
                    fired.append(await look(session, key, now, self.tallies))
        return [one for one in fired if one is not None]


@contextmanager
def _holding_up_no_other(key: Key) -> Iterator[None]:
    try:
        with reaching_database():
            yield
    except DatabaseUnavailable:
        raise
    except Exception:
        log.exception("a schedule cannot be looked at", project=key[0], schedule=key[1])


async def look(session: AsyncSession, key: Key, now: datetime, tallies: Tallies) -> Fired | None:
    """What came of a schedule that is due; None when it is not, or somebody else looks at it."""
    schedule = await _locked(session, key, now)
    if schedule is None:
        return None
    next_at = next_due(schedule.cron, schedule.time_zone, now) if schedule.cron else None
    if schedule.cron is not None and schedule.next_at is None:  # of an older release
        await _change(session, schedule, next_at=next_at)
        return None
    due_at, threshold = schedule.next_at or now, threshold_of(schedule)
    changed: dict[str, object] = {"next_at": next_at, "last_due_at": due_at}
    if threshold is not None:
        reached = await tallies.look(session, schedule, threshold, now)
        if not reached.is_reached:
            return await _pass_over(session, schedule, changed)
        changed["threshold"] = {**(schedule.threshold or {}), "reached_at": reached.before}
    placed = await _started(session, schedule, due_at) or await _start(session, schedule, due_at)
    outcome = Firing.STARTED if placed.is_new else Firing.COLLAPSED
    await _change(session, schedule, **changed, last_outcome=outcome, last_id=placed.id)
    log.info("a schedule is due", schedule=schedule.name, outcome=outcome, id=str(placed.id))
    return Fired(*key, due_at, outcome, placed.id)


async def _pass_over(
    session: AsyncSession, schedule: Schedule, changed: dict[str, object]
) -> Fired | None:
    """Too few samples: a cron waits for its next time, and a threshold for more."""
    if schedule.cron is None or schedule.next_at is None:
        return None
    outcome = Firing.TOO_FEW
    await _change(session, schedule, **changed, last_outcome=outcome, last_id=None)
    return Fired(schedule.project_id, schedule.name, schedule.next_at, outcome, None)


async def _started(session: AsyncSession, schedule: Schedule, due_at: datetime) -> Placed | None:
    """What is there for a due time already, as when a clock was put back between two looks."""
    table = Job if schedule.run.get("kind") == MONITORING else TrainingRun
    found = await session.scalar(
        select(col(table.id)).where(
            col(table.project_id) == schedule.project_id,
            col(table.schedule) == schedule.name,
            col(table.due_at) == due_at,
        )
    )
    return Placed(found, is_new=False) if found else None


async def _start(session: AsyncSession, schedule: Schedule, due_at: datetime) -> Placed:
    """The waiting row: of the same work, if nobody has begun one that waits already."""
    kind, params = schedule.run["kind"], schedule.run
    placement = Placement(
        project_id=schedule.project_id,
        priority=schedule.priority,
        created_by=f"schedule:{schedule.name}",
        schedule=schedule.name,
        due_at=due_at,
    )
    if kind == MONITORING:
        placement |= {"queue": MONITORING, "dedupe_key": f"schedule:{schedule.name}"}
        return await place(session, Job, kind=kind, params=params, **placement)
    key = pending_key(TrainingRequest.model_validate(params), schedule.queue)
    placement |= {"queue": schedule.queue, "dedupe_key": key}
    return await place(session, TrainingRun, kind=kind, params=params, **placement)


async def _keys(session: AsyncSession, now: datetime) -> list[Key]:
    """Who may be due, the longest first."""
    statement = select(col(Schedule.project_id), col(Schedule.name)).where(*_may_be_due(now))
    found = await session.execute(statement.order_by(col(Schedule.next_at), col(Schedule.name)))
    return [(project_id, name) for project_id, name in found]


async def _locked(session: AsyncSession, key: Key, now: datetime) -> Schedule | None:
    statement = select(Schedule).where(
        col(Schedule.project_id) == key[0], col(Schedule.name) == key[1], *_may_be_due(now)
    )
    return await session.scalar(statement.with_for_update(skip_locked=True))


def _may_be_due(now: datetime) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """A threshold always may; Postgres asks anew of a row that changed before it was locked."""
    next_at = col(Schedule.next_at)
    return col(Schedule.enabled).is_(True), or_(next_at.is_(None), next_at <= now)


async def _change(session: AsyncSession, schedule: Schedule, **values: object) -> None:
    await session.execute(
        update(Schedule)
        .where(col(Schedule.project_id) == schedule.project_id, col(Schedule.name) == schedule.name)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
