"""How people judge each task and each agent, and whether that goes up or down."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

IMPROVING_ABOVE = 0.8
TASK_NAMES = {
    "tracing": "tracing_accuracy",
    "proofreading": "proofreading_quality",
    "rag": "rag_helpfulness",
}

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
    where = {"project_id": project_id, "since": since}
    judged = _by_kind((await session.execute(_HALVES, where)).all())
    counts = {row.value: row.posts for row in await session.execute(_DISTRIBUTION, where)}
    volume = await session.execute(_VOLUME, where)
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
