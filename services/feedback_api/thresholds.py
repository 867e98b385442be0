"""Retrain thresholds: a training run whenever so many new samples have come.

A sample is a live, settled row with training consent that nobody withdrew. New means: written by a
transaction after the watermark, which is that of the last training or of the last time the
threshold was reached, whichever is later. Counting starts where the last look stopped. When that
sum suffices, and once a minute, all are counted anew: rows may have gone, and people may have given
their consent again.
"""

import time
from collections import Counter
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    cast,
    delete,
    func,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, array, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.contracts.training import TrainingRequest
from shared.contracts.values import PersonKind, RunStatus
from shared.db.audit import audit
from shared.db.columns import Xid8
from shared.db.consents import has_withdrawn, oldest_open
from shared.db.faults import reaching_database
from shared.db.tables import Dataset, Feedback, Preference, Schedule, TrainingRun
from shared.errors import Conflict, DatabaseUnavailable, NotFound
from shared.jobs import enqueue
from shared.logs import get_logger

MAX_SAMPLES = 10_000_000

Post = type[Feedback] | type[Preference]
log = get_logger("retrain")


class Threshold(BaseModel):
    """What a schedule counts: so many new samples of all, of one task type, or of any one."""

    model_config = ConfigDict(frozen=True)

    new_samples: int = Field(ge=1, le=MAX_SAMPLES)
    task_type: str | None = None
    any_task: bool = False
    reached_at: int = 0  # the watermark of the last time it was reached


@dataclass(frozen=True)
class Span:
    """Transactions from the first one up to, and without, the second."""

    since: int
    before: int


# By task type where any single one counts; everything under None otherwise.
Counts = Counter[str | None]


@dataclass(frozen=True)
class Tally:
    """Samples counted so far, for which threshold, over which span."""

    threshold: Threshold
    span: Span
    counts: Counts
    counted_at: float

    @property
    def count(self) -> int:
        """What has to reach the threshold."""
        return highest(self.counts)

    def counts_what(self, threshold: Threshold) -> bool:
        """Whether a threshold counts the same samples; their number may be another."""
        mine = self.threshold
        return (mine.task_type, mine.any_task) == (threshold.task_type, threshold.any_task)


@dataclass
class Thresholds:
    """Looks at every threshold of a deployment; remembers what it has counted."""

    sessions: async_sessionmaker[AsyncSession]
    recount_s: float = 60.0
    tallies: dict[tuple[int, str], Tally] = field(default_factory=dict)

    async def check(self) -> int:
        """Enqueue a run for every threshold that is reached; how many were.

        Several processes may look at once: a threshold's row is locked while it is looked at, and
        the others leave it out.
        """
        reached = 0
        async with self.sessions() as session:
            keys = await _keys(session)
        self.tallies = {key: tally for key, tally in self.tallies.items() if key in keys}
        for key in keys:
            reached += await self._look_safely(key)
        return reached

    async def _look_safely(self, key: tuple[int, str]) -> bool:
        try:
            with reaching_database():
                async with self.sessions.begin() as session:
                    schedule = await _locked(session, key)
                    return schedule is not None and await self._look(session, schedule)
        except DatabaseUnavailable:
            raise
        except Conflict as error:
            log.info("a threshold waits for the next look", reason=error.detail)
        except Exception:  # one threshold must not hold up the others
            log.exception("a threshold cannot be looked at", project=key[0], schedule=key[1])
        return False

    async def _look(self, session: AsyncSession, schedule: Schedule) -> bool:
        threshold = Threshold.model_validate(schedule.threshold)
        span = await _span(session, schedule, threshold)
        key = (schedule.project_id, schedule.name)
        tally = self._continued(key, threshold, span)
        if tally is not None:
            rest = Span(tally.span.before, span.before)
            added = await count(session, schedule.project_id, threshold, rest)
            tally = replace(tally, span=span, counts=tally.counts + added)
        if tally is None or tally.count >= threshold.new_samples:
            counted = await count(session, schedule.project_id, threshold, span)
            tally = Tally(threshold, span, counted, time.monotonic())
        self.tallies[key] = tally
        if tally.count < threshold.new_samples:
            return False
        await _start(session, schedule, threshold, span)
        return True

    def _continued(self, key: tuple[int, str], threshold: Threshold, span: Span) -> Tally | None:
        """What was counted before, if it is of the same samples and not too long ago."""
        tally = self.tallies.get(key)
        if tally is None or time.monotonic() - tally.counted_at >= self.recount_s:
            return None
        is_same = tally.counts_what(threshold) and tally.span.since == span.since
        return tally if is_same else None


async def count(session: AsyncSession, project_id: int, threshold: Threshold, span: Span) -> Counts:
    """How many samples of a span are there."""
    both = (samples(table, project_id, threshold, span) for table in (Feedback, Preference))
    counts = Counts()
    for task, number in await session.execute(union_all(*both)):
        counts[task] += number
    return counts


def highest(counts: Counts) -> int:
    """The largest of several counts, 0 when there is none."""
    return max(counts.values(), default=0)


def samples(
    table: Post, project_id: int, threshold: Threshold, span: Span
) -> Select[str | None, int]:
    """The number of samples in a table; the first four conditions are the index on samples."""
    rater = array([col(table.clinician_id)])
    conditions = [
        col(table.project_id) == project_id,
        col(table.consent_training),
        col(table.xid) >= _xid(span.since),
        col(table.xid) < _xid(span.before),
        ~has_withdrawn(PersonKind.RATER, project_id, rater),
        ~has_withdrawn(PersonKind.SUBJECT, project_id, col(table.subjects)),
    ]
    if threshold.any_task:
        named = select(col(table.task_type), func.count()).group_by(col(table.task_type))
        return named.where(*conditions, col(table.task_type).is_not(None))
    if threshold.task_type is not None:
        conditions.append(col(table.task_type) == threshold.task_type)
    everything = select(cast(null(), String), func.count()).select_from(table)
    return everything.where(*conditions)


async def set_threshold(
    session: AsyncSession,
    name: str,
    threshold: Threshold,
    run: TrainingRequest,
    *,
    project_id: int,
    actor: str,
) -> None:
    """Store a threshold under a name; one that was there keeps what it counts from."""
    wanted = threshold.model_dump(mode="json", exclude={"reached_at"})
    values = {"threshold": wanted, "run": run.model_dump(mode="json"), "enabled": True}
    statement = insert(Schedule).values(project_id=project_id, name=name, **values)
    kept = func.coalesce(col(Schedule.threshold), cast(literal({}, JSONB), JSONB))
    changed = {**values, "threshold": kept.op("||")(statement.excluded.threshold)}
    await session.execute(
        statement.on_conflict_do_update(index_elements=["project_id", "name"], set_=changed)
    )
    audit(
        session,
        "retrain.set",
        actor=actor,
        target=f"schedule:{name}",
        project_id=project_id,
        detail=wanted,
    )


async def remove_threshold(
    session: AsyncSession, name: str, *, project_id: int, actor: str
) -> None:
    """Take a threshold away; runs that it has enqueued stay.

    Raises:
        NotFound: there is none of this name.
    """
    gone = await session.scalar(
        delete(Schedule)
        .where(
            col(Schedule.project_id) == project_id,
            col(Schedule.name) == name,
            col(Schedule.threshold).is_not(None),
        )
        .returning(col(Schedule.name))
    )
    if gone is None:
        raise NotFound(f"There is no threshold {name}; see `heed retrain list`.")
    audit(session, "retrain.off", actor=actor, target=f"schedule:{name}", project_id=project_id)


@dataclass(frozen=True)
class Standing:
    """A threshold and how many samples it has counted so far."""

    name: str
    threshold: Threshold
    run: TrainingRequest
    count: int
    is_enabled: bool


async def list_thresholds(session: AsyncSession, project_id: int) -> list[Standing]:
    """Every threshold of a project, by name."""
    mine = select(Schedule).where(
        col(Schedule.project_id) == project_id, col(Schedule.threshold).is_not(None)
    )
    standings = []
    for schedule in await session.scalars(mine.order_by(col(Schedule.name))):
        threshold = Threshold.model_validate(schedule.threshold)
        span = await _span(session, schedule, threshold)
        counted = highest(await count(session, project_id, threshold, span))
        run = TrainingRequest.model_validate(schedule.run)
        standings.append(Standing(schedule.name, threshold, run, counted, schedule.enabled))
    return standings


async def _keys(session: AsyncSession) -> list[tuple[int, str]]:
    statement = select(col(Schedule.project_id), col(Schedule.name)).where(
        col(Schedule.enabled), col(Schedule.threshold).is_not(None)
    )
    return [(project_id, name) for project_id, name in await session.execute(statement)]


async def _locked(session: AsyncSession, key: tuple[int, str]) -> Schedule | None:
    statement = select(Schedule).where(
        col(Schedule.project_id) == key[0],
        col(Schedule.name) == key[1],
        col(Schedule.enabled),
        col(Schedule.threshold).is_not(None),
    )
    return await session.scalar(statement.with_for_update(skip_locked=True))


async def _span(session: AsyncSession, schedule: Schedule, threshold: Threshold) -> Span:
    """From the watermark to the oldest transaction that is still open."""
    trained_on = select(col(TrainingRun.dataset_id)).where(
        col(TrainingRun.project_id) == schedule.project_id,
        col(TrainingRun.kind) == schedule.run["kind"],
        col(TrainingRun.params)["model_name"].astext == schedule.run["model_name"],
        col(TrainingRun.status).in_([RunStatus.RUNNING, RunStatus.SUCCEEDED]),
        col(TrainingRun.dataset_id).is_not(None),
    )
    last = (
        select(col(Dataset.watermark))
        .where(col(Dataset.id).in_(trained_on), col(Dataset.watermark).is_not(None))
        .order_by(col(Dataset.watermark).desc())
        .limit(1)
        .scalar_subquery()
    )
    row = await session.execute(select(cast(last, String), cast(oldest_open(), String)))
    trained, before = row.one()
    return Span(max(int(trained or 0), threshold.reached_at), int(before))


async def _start(
    session: AsyncSession, schedule: Schedule, threshold: Threshold, span: Span
) -> None:
    run_id = await enqueue(
        session,
        TrainingRun,
        kind=schedule.run["kind"],
        params=schedule.run,
        project_id=schedule.project_id,
        dedupe_key=f"retrain:{schedule.name}",
        created_by=f"retrain:{schedule.name}",
        schedule=schedule.name,
    )
    reached = threshold.model_copy(update={"reached_at": span.before})
    await session.execute(
        update(Schedule)
        .where(col(Schedule.project_id) == schedule.project_id, col(Schedule.name) == schedule.name)
        .values(threshold=reached.model_dump(mode="json"))
        .execution_options(synchronize_session=False)
    )
    log.info("a retrain threshold is reached", schedule=schedule.name, run=str(run_id))


def _xid(value: int) -> ColumnElement[int]:
    return cast(literal(str(value)), Xid8)
