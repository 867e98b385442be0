"""What a look at feedback and the live model finds, and which of it people are warned of."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.datasets import FeedbackRow, PreferenceRow
from services.trainer.queries import groups_trained_on, trainable_feedback, trainable_preferences
from services.trainer.reward_metrics import hits, rewards_of, share_interval
from services.trainer.splits import group_by_secret
from services.trainer.workplace import Workplace
from shared import registry
from shared.contracts.monitoring import (
    Average,
    MonitoringReport,
    MonitoringRequest,
    NewestAgreement,
    Volume,
    Warned,
)
from shared.contracts.values import Outcome
from shared.db.tables import ModelVersion
from shared.errors import HeedError, Unavailable
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair, Scorer

GOOD_STARS = 4.0
FEWEST_JUDGED = 20  # of which agreement is told
USUAL_FROM = 20.0  # posts of a usual day, from which a quiet one is told
_QUIET_SHARE = 0.25

# One scale for all: human_rating as it is, stars 1..5 as 0..1, a thumb as 1 or 0.
_AVERAGES = text("""
WITH scored AS (
    SELECT task_type, agent_name, coalesce(
        human_rating, (rating - 1) / 4.0,
        CASE thumbs WHEN 'up' THEN 1.0 WHEN 'down' THEN 0.0 END) AS value
    FROM rlhf_feedback
    WHERE project_id = :project_id AND "timestamp" >= :since AND "timestamp" <= :now
), named AS (
    SELECT 'task' AS kind, task_type AS name, value FROM scored WHERE task_type IS NOT NULL
    UNION ALL
    SELECT 'agent', agent_name, value FROM scored WHERE agent_name IS NOT NULL
    UNION ALL
    SELECT 'all', 'all', value FROM scored
)
SELECT kind, name, count(value) AS rated, avg(value)::float8 AS average
FROM named WHERE value IS NOT NULL GROUP BY kind, name ORDER BY kind, name
""")
_VOLUME = text("""
SELECT count(*) FILTER (WHERE "timestamp" > :yesterday) AS last_day,
       count(*) FILTER (WHERE "timestamp" <= :yesterday) AS before
FROM (
    SELECT "timestamp" FROM rlhf_feedback WHERE project_id = :project_id
        AND "timestamp" >= :since AND "timestamp" <= :now
    UNION ALL
    SELECT "timestamp" FROM rlhf_preferences WHERE project_id = :project_id
        AND "timestamp" >= :since AND "timestamp" <= :now
) AS posts
""")


class Judged(NamedTuple):
    """The newest judgements on prompts that no model was trained on."""

    comparisons: Sequence[PreferenceRow]
    ratings: Sequence[FeedbackRow]


async def watch(
    workplace: Workplace, asked: MonitoringRequest, project_id: int, now: datetime
) -> MonitoringReport:
    """What there is to see at a moment; a model that cannot be loaded hides nothing else.

    Raises:
        Unavailable: something is away for now.
    """
    async with workplace.sessions() as session:
        averages = await read_averages(session, asked, project_id, now)
        volume = await read_volume(session, asked, project_id, now)
        live = await registry.champion(session, asked.model_name, project_id)
        judged = await _judged(session, workplace, asked.newest, project_id)
    newest: list[NewestAgreement] = []
    unknown = None if live else "Nothing is live under this name."
    try:
        if live is not None and any(judged):
            newest = await asyncio.to_thread(_agreement, workplace, live, judged)
    except Unavailable:
        raise
    except HeedError as error:
        unknown = error.detail
    return MonitoringReport(
        at=now,
        days=asked.days,
        averages=averages,
        volume=volume,
        newest=newest,
        unknown=unknown,
        warnings=[*_warnings(asked, averages, volume, newest)],
    )


async def read_averages(
    session: AsyncSession, asked: MonitoringRequest, project_id: int, now: datetime
) -> list[Average]:
    """What people think of each task and agent that anybody rated."""
    where = {"project_id": project_id, "since": now - timedelta(days=asked.days), "now": now}
    found = (await session.execute(_AVERAGES, where)).mappings()
    return [Average.model_validate(dict(row)) for row in found]


async def read_volume(
    session: AsyncSession, asked: MonitoringRequest, project_id: int, now: datetime
) -> Volume:
    """How much was posted in the last day, and in a usual one of the days before."""
    day = timedelta(days=1)
    since, yesterday = now - day - timedelta(days=asked.days), now - day
    where = {"project_id": project_id, "since": since, "yesterday": yesterday, "now": now}
    row = (await session.execute(_VOLUME, where)).one()
    return Volume(last_day=row.last_day, usual_day=row.before / asked.days)


async def _judged(
    session: AsyncSession, workplace: Workplace, newest: int, project_id: int
) -> Judged:
    if not newest:
        return Judged([], [])
    cipher = workplace.cipher
    compared = await trainable_preferences(session, project_id, cipher, newest=newest)
    rated = await trainable_feedback(session, project_id, cipher, newest=newest)
    trained = await groups_trained_on(session, project_id)
    group_of = group_by_secret(workplace.secret, project_id)
    return Judged(
        [
            one
            for one in compared
            if one.outcome in (Outcome.A, Outcome.B) and group_of(one.prompt) not in trained
        ],
        [one for one in rated if one.graded and group_of(one.prompt) not in trained],
    )


def _agreement(workplace: Workplace, live: ModelVersion, judged: Judged) -> list[NewestAgreement]:
    store = workplace.store.of_project(live.project_id)
    scorer = load_scorer(store.path(live.uri), secret=workplace.secret)
    name, promised = f"{live.name}@{live.version}", live.metrics.get("pair_accuracy_low")
    found = [_with_comparisons(scorer, judged.comparisons), _with_ratings(scorer, judged.ratings)]
    return [
        NewestAgreement(
            model=name, of=of, promised_low=promised if of == "comparisons" else None, **told
        )
        for of, told in zip(("comparisons", "ratings"), found, strict=True)
        if told is not None
    ]


def _with_comparisons(scorer: Scorer, compared: Sequence[PreferenceRow]) -> dict[str, float] | None:
    if len(compared) < FEWEST_JUDGED:
        return None
    sides = [
        Pair(one.prompt, text) for one in compared for text in (one.response_a, one.response_b)
    ]
    rewards = rewards_of(scorer, sides)
    signs = np.array([1.0 if one.outcome == Outcome.A else -1.0 for one in compared])
    return _told(hits((rewards[0::2] - rewards[1::2]) * signs), [one.prompt for one in compared])


def _with_ratings(scorer: Scorer, rated: Sequence[FeedbackRow]) -> dict[str, float] | None:
    if len(rated) < FEWEST_JUDGED:
        return None
    good_from = float(scorer.manifest.parameters.get("good_rating") or GOOD_STARS)
    said = scorer.score([Pair(one.prompt, one.response) for one in rated]).probability >= 0.5
    is_good = np.array([one.graded is not None and one.graded[1] >= good_from for one in rated])
    return _told((said == is_good).astype(np.float64), [one.prompt for one in rated])


def _told(agreed: "np.typing.NDArray[np.float64]", prompts: list[str]) -> dict[str, float]:
    found = share_interval(agreed, prompts)
    return {
        "counted": len(prompts),
        "agreement": found.mean,
        "low": found.low,
        "high": found.high,
    }


def _warnings(
    asked: MonitoringRequest,
    averages: Sequence[Average],
    volume: Volume,
    newest: Sequence[NewestAgreement],
) -> Iterator[Warned]:
    for one in averages:
        if one.rated >= asked.warn_from and one.average < asked.warn_below:
            about = f"{one.kind}:{one.name}"
            yield Warned(kind="low_average", about=about, value=one.average, counted=one.rated)
    is_usual = volume.usual_day >= USUAL_FROM
    if is_usual and volume.last_day < _QUIET_SHARE * volume.usual_day:
        usual, last = volume.usual_day, volume.last_day
        yield Warned(kind="quiet", about="posts", value=last / usual, counted=last)
    for found in newest:
        if found.high < (0.5 if found.promised_low is None else found.promised_low):
            about = f"{found.model}:{found.of}"
            value, counted = found.agreement, found.counted
            yield Warned(kind="disagrees", about=about, value=value, counted=counted)
