"""How people judge each task and each agent, and whether that goes up or down."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from services.feedback_api.queries import count_days, count_values, read_halves

IMPROVING_ABOVE = 0.8
TASK_NAMES = {
    "tracing": "tracing_accuracy",
    "proofreading": "proofreading_quality",
    "rag": "rag_helpfulness",
}


class Judgement(BaseModel):
    """How one task or agent is judged, on a scale from 0 to 1."""

    average_rating: float | None = Field(
        description="Mean of human_rating, stars as (n - 1) / 4 and thumbs as 0 or 1."
    )
    total_samples: int = Field(description="Live posts, rated or not.")
    rated_samples: int
    trend: Literal["improving", "needs_attention"] | None = Field(
        description="`improving` above 0.8; null without a rating."
    )
    direction: Literal["up", "flat", "down"] | None = Field(
        description="Whether the later half of the ratings differs from the earlier half; null "
        "with fewer than two ratings in either."
    )
    change: float | None = Field(description="Mean of the later half minus the earlier half.")
    change_interval: tuple[float, float] | None = Field(description="95 % interval of `change`.")


class DayVolume(BaseModel):
    """Live posts of one day, UTC."""

    day: date
    feedback: int
    preferences: int


class FeedbackStatistics(BaseModel):
    """Statistics of one project since a moment."""

    since: datetime
    overall: Judgement
    tasks: dict[str, Judgement]
    agents: dict[str, Judgement]
    rating_distribution: dict[str, int]
    volume_per_day: list[DayVolume]


@dataclass(frozen=True)
class Half:
    """The earlier or later half of some ratings."""

    posts: int
    rated: int
    mean: float | None
    variance: float | None


async def read_statistics(
    session: AsyncSession, project_id: int, since: datetime
) -> FeedbackStatistics:
    """What people posted since a moment, by task, agent, value and day."""
    judged = _by_kind(await read_halves(session, project_id, since))
    counts = await count_values(session, project_id, since)
    volume = await count_days(session, project_id, since)
    return FeedbackStatistics(
        since=since,
        overall=judged["all"].get("all", judge([])),
        tasks={TASK_NAMES.get(name, name): found for name, found in judged["task"].items()},
        agents=judged["agent"],
        rating_distribution={name: counts.get(name, 0) for name in ("1", "2", "3", "4", "5")}
        | {name: counts.get(name, 0) for name in ("up", "down")},
        volume_per_day=[DayVolume.model_validate(row._mapping) for row in volume],
    )


def _by_kind(rows: Sequence[Row[Any]]) -> dict[str, dict[str, Judgement]]:
    halves: dict[tuple[str, str], list[Half]] = defaultdict(list)
    for row in rows:
        halves[row.kind, row.name].append(Half(row.posts, row.rated, row.mean, row.variance))
    judged: dict[str, dict[str, Judgement]] = {"all": {}, "task": {}, "agent": {}}
    for (kind, name), found in halves.items():
        judged[kind][name] = judge(found)
    return judged


def judge(halves: Sequence[Half]) -> Judgement:
    """Average, trend and direction from the earlier and the later half of the ratings.

    The interval is Welch's, with the normal quantile 1.96.
    """
    rated = sum(half.rated for half in halves)
    total = sum(half.mean * half.rated for half in halves if half.mean is not None)
    average = total / rated if rated else None
    change, interval = _change(halves)
    return Judgement(
        average_rating=average,
        total_samples=sum(half.posts for half in halves),
        rated_samples=rated,
        trend=None if average is None else _trend(average),
        direction=None if interval is None else _direction(interval),
        change=change,
        change_interval=interval,
    )


def _trend(average: float) -> Literal["improving", "needs_attention"]:
    return "improving" if average > IMPROVING_ABOVE else "needs_attention"


def _change(halves: Sequence[Half]) -> tuple[float | None, tuple[float, float] | None]:
    if len(halves) != 2 or any(half.variance is None or half.mean is None for half in halves):
        return None, None
    earlier, later = halves
    assert earlier.mean is not None
    assert later.mean is not None
    change = later.mean - earlier.mean
    error = math.sqrt(sum((half.variance or 0.0) / half.rated for half in halves))
    return change, (change - 1.96 * error, change + 1.96 * error)


def _direction(interval: tuple[float, float]) -> Literal["up", "flat", "down"]:
    low, high = interval
    if low > 0:
        return "up"
    return "down" if high < 0 else "flat"
