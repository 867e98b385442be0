"""Counts that go on where the last look stopped, so that looking often costs little.

When a sum suffices, and once a minute, all are counted anew: rows may have gone, and people may
have withdrawn their consent or given it again.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from shared.contracts.schedules import Threshold
from shared.db.tables import Schedule
from shared.schedules.samples import Counts, Span, count, highest, span_of

Key = tuple[int, str]


@dataclass(frozen=True)
class Tally:
    """Samples counted so far, of which threshold, over which span."""

    threshold: Threshold
    span: Span
    counts: Counts
    counted_at: datetime

    def counts_what(self, threshold: Threshold) -> bool:
        """Whether a threshold counts the same samples; their number may be another."""
        mine = self.threshold
        return (mine.task_type, mine.any_task) == (threshold.task_type, threshold.any_task)


@dataclass(frozen=True)
class Reached:
    """Whether a threshold is reached, and up to where it was looked."""

    is_reached: bool
    before: int


@dataclass
class Tallies:
    """What one scheduler has counted of every threshold."""

    recount_after: timedelta = timedelta(minutes=1)
    by_key: dict[Key, Tally] = field(default_factory=dict)

    def forget_all_but(self, keys: set[Key]) -> None:
        """Drop the counts of schedules that are gone."""
        self.by_key = {key: tally for key, tally in self.by_key.items() if key in keys}

    async def look(
        self, session: AsyncSession, schedule: Schedule, threshold: Threshold, now: datetime
    ) -> Reached:
        """Whether a schedule's threshold is reached at this moment."""
        span = await span_of(session, schedule)
        if threshold.in_total:
            is_reached = await _is_reached_in_total(session, schedule, threshold, span)
            return Reached(is_reached, span.before)
        tally = self._continued(schedule, threshold, span, now)
        if tally is not None:
            rest = Span(tally.span.before, span.before)
            added = await count(session, schedule.project_id, threshold, rest)
            tally = replace(tally, span=span, counts=tally.counts + added)
        if tally is None or highest(tally.counts) >= threshold.samples:
            counted = await count(session, schedule.project_id, threshold, span)
            tally = Tally(threshold, span, counted, now)
        self.by_key[schedule.project_id, schedule.name] = tally
        return Reached(highest(tally.counts) >= threshold.samples, span.before)

    def _continued(
        self, schedule: Schedule, threshold: Threshold, span: Span, now: datetime
    ) -> Tally | None:
        """What was counted before, if it is of the same samples and not too long ago."""
        tally = self.by_key.get((schedule.project_id, schedule.name))
        if tally is None or now - tally.counted_at >= self.recount_after:
            return None
        is_same = tally.counts_what(threshold) and tally.span.since == span.since
        return tally if is_same else None


async def _is_reached_in_total(
    session: AsyncSession, schedule: Schedule, threshold: Threshold, span: Span
) -> bool:
    """Enough of all there are, one of them at least new: without it nothing would be learnt."""
    project_id = schedule.project_id
    everything = await count(session, project_id, threshold, span.everything)
    if highest(everything) < threshold.samples:
        return False
    return highest(await count(session, project_id, threshold, span)) > 0
