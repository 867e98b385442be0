"""Schedules in the database: set, switched, taken away and read, by a command or over HTTP."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.monitoring import KIND as MONITORING
from shared.contracts.schedules import NAME_PATTERN, ScheduleIn
from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.tables import Schedule
from shared.errors import InvalidInput, NotFound
from shared.schedules.due import next_due
from shared.schedules.samples import count, highest, span_of, threshold_of


class Owner(NamedTuple):
    """Whose schedules are meant, and who says so."""

    project_id: int
    actor: str


@dataclass(frozen=True)
class Standing:
    """A schedule, and how many of the samples that its threshold wants there are by now.

    `counted` is None where it counts nothing.
    """

    schedule: Schedule
    counted: int | None

    def is_due_since(self, moment: datetime) -> bool:
        """Whether it was due by then and nobody has looked."""
        next_at = self.schedule.next_at
        return self.schedule.enabled and next_at is not None and next_at <= moment

    @property
    def wanted(self) -> ScheduleIn:
        """The schedule as people write it."""
        parts = set(ScheduleIn.model_fields) - {"monitoring"}
        written = {name: getattr(self.schedule, name) for name in parts}
        written["threshold"] = threshold_of(self.schedule)
        kind = self.schedule.run.get("kind")
        if kind == MONITORING:
            asked = {name: value for name, value in written.pop("run").items() if name != "kind"}
            written["monitoring"] = asked
        return ScheduleIn.model_validate(written)


async def put_schedule(
    session: AsyncSession, name: str, wanted: ScheduleIn, owner: Owner, now: datetime
) -> bool:
    """Store a schedule under a name, in place of one of that name; whether it is a new one.

    Where the clock stays as it was, so does the next due time, and a threshold goes on counting
    from where it did. What was due while a schedule was switched off is not made up for.

    Raises:
        InvalidInput: the name, the cron or the time zone is none.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InvalidInput(
            "The name of a schedule has 1 to 100 letters, digits, dots, dashes and underscores."
        )
    values = wanted.model_dump(mode="json", exclude={"monitoring"})
    if wanted.monitoring is not None:
        values["run"] = {"kind": MONITORING, **wanted.monitoring.model_dump(mode="json")}
    next_at = next_due(wanted.cron, wanted.time_zone, now) if wanted.cron else None
    added = insert(Schedule).values(
        project_id=owner.project_id, name=name, next_at=next_at, **values
    )
    new = added.excluded
    is_same_clock = and_(
        col(Schedule.enabled),
        col(Schedule.cron) == new.cron,
        col(Schedule.time_zone) == new.time_zone,
    )
    reached = func.coalesce(col(Schedule.threshold)["reached_at"], cast(literal(0, JSONB), JSONB))
    changed = {key: new[key] for key in values} | {
        "next_at": case((is_same_clock, col(Schedule.next_at)), else_=new.next_at),
        "threshold": new.threshold.op("||")(func.jsonb_build_object("reached_at", reached)),
    }
    stored = added.on_conflict_do_update(index_elements=["project_id", "name"], set_=changed)
    is_new = await session.scalar(stored.returning(literal_column("xmax = 0")))
    run, counted = values["run"], values["threshold"] or {}
    told = {part: values[part] for part in ("cron", "time_zone", "queue", "priority", "enabled")}
    told |= {"kind": run["kind"], "samples": counted.get("samples")}  # a recipe may hold texts
    _audit(session, "set", name, owner, told)
    return bool(is_new)


async def remove_schedule(session: AsyncSession, name: str, owner: Owner) -> None:
    """Take a schedule away; what it has enqueued stays.

    Raises:
        NotFound: there is none of this name.
    """
    gone = delete(Schedule).where(*_named(name, owner.project_id)).returning(col(Schedule.name))
    if await session.scalar(gone) is None:
        raise _missing(name)
    _audit(session, "remove", name, owner, {})


async def list_schedules(session: AsyncSession, project_id: int) -> list[Standing]:
    """Every schedule of a project, by name."""
    mine = select(Schedule).where(col(Schedule.project_id) == project_id)
    found = await session.scalars(mine.order_by(col(Schedule.name)))
    return [await _standing(session, schedule) for schedule in found.all()]


async def find_schedule(session: AsyncSession, name: str, project_id: int) -> Standing:
    """One schedule.

    Raises:
        NotFound: there is none of this name.
    """
    found = await session.scalar(select(Schedule).where(*_named(name, project_id)))
    if found is None:
        raise _missing(name)
    return await _standing(session, found)


async def _standing(session: AsyncSession, schedule: Schedule) -> Standing:
    threshold = threshold_of(schedule)
    if threshold is None:
        return Standing(schedule, None)
    span = await span_of(session, schedule)
    span = span.everything if threshold.in_total else span
    return Standing(schedule, highest(await count(session, schedule.project_id, threshold, span)))


def _named(name: str, project_id: int) -> tuple[ColumnElement[bool], ...]:
    return col(Schedule.project_id) == project_id, col(Schedule.name) == name


def _missing(name: str) -> NotFound:
    shown = name if re.fullmatch(NAME_PATTERN, name) else "of this name"
    return NotFound(f"There is no schedule {shown}; see `heed schedules list`.")


def _audit(session: AsyncSession, verb: str, name: str, owner: Owner, detail: Json) -> None:
    audit(
        session,
        f"schedule.{verb}",
        actor=owner.actor,
        target=f"schedule:{name}",
        project_id=owner.project_id,
        detail=detail,
    )
