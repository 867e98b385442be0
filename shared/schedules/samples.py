"""How many samples a threshold has: of all, of one task type, or of any one.

A sample is a live, settled row with training consent that nobody withdrew. New means: written by a
transaction after the watermark, which is that of the last training or of the last time the
threshold was reached, whichever is later. A sequence or a clock would lose rows as a watermark,
since rows do not become visible in that order.
"""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, String, cast, func, literal, null, select, union_all
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.schedules import Threshold
from shared.contracts.values import PersonKind, RunStatus
from shared.db.columns import Xid8
from shared.db.consents import has_withdrawn, oldest_open
from shared.db.tables import Dataset, Feedback, Preference, Schedule, TrainingRun

Post = type[Feedback] | type[Preference]
# By task type where any single one counts; everything under None otherwise.
Counts = Counter[str | None]


@dataclass(frozen=True)
class Span:
    """Transactions from the first one up to, and without, the second."""

    since: int
    before: int

    @property
    def everything(self) -> "Span":
        """From the first transaction ever to the same end."""
        return Span(0, self.before)


def threshold_of(schedule: Schedule) -> Threshold | None:
    """What a stored schedule counts, without where it counts from; None where it counts nothing."""
    stored = schedule.threshold
    if stored is None:
        return None
    return Threshold.model_validate({k: v for k, v in stored.items() if k != "reached_at"})


async def span_of(session: AsyncSession, schedule: Schedule) -> Span:
    """From the schedule's watermark to the oldest transaction that is still open."""
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
    reached = (schedule.threshold or {}).get("reached_at", 0)
    return Span(max(int(trained or 0), reached), int(before))


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


def _xid(value: int) -> ColumnElement[int]:
    return cast(literal(str(value)), Xid8)
