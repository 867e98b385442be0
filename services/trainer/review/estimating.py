"""How often a model agrees with people, measured on the random share of the review queue.

What people choose to rate, and what the queue asks about for its doubt, are no fair sample: a
model looks better or worse on them than it is. The beginning of the random order is one, provided
that (nearly) all of it was judged, whoever asked for it.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.datasets import THUMB_STARS
from services.trainer.review.pool import Interaction
from services.trainer.reward_metrics import Interval, auc, share_interval
from services.trainer.splits import normalise_prompt
from shared.contracts.values import Thumb
from shared.db.tables import Feedback
from shared.ml.scorer import Pair, Scorer

# People pass some questions over; with more than this many unanswered the sample would be theirs.
MOST_UNJUDGED = 0.05


@dataclass(frozen=True)
class Agreement:
    """A model against people on a fair sample of recorded responses.

    Attributes:
        sample: size of the sample, from the beginning of the random order.
        judged: how many of it people judged.
        left_out: how many of those were on prompts that a model may have been trained on.
        counted: how many remain; too few to say anything when below two.
        accuracy: share where probability >= 0.5 is what people found good, with a 95 % interval
            over prompts; None with too few.
        auc: area under the ROC curve; None when people agree on all of them.
        found_good: share that people found good.
        expected_good: mean probability of the model, which should be the same.
    """

    sample: int
    judged: int
    left_out: int
    counted: int
    accuracy: Interval | None = None
    auc: float | None = None
    found_good: float | None = None
    expected_good: float | None = None


def judged_sample(interactions: Sequence[Interaction]) -> Sequence[Interaction]:
    """The longest beginning of the random order of which at least 95 % are judged."""
    is_open = np.cumsum([not one.is_judged for one in interactions])
    fits = np.flatnonzero(is_open <= MOST_UNJUDGED * np.arange(1, len(interactions) + 1))
    return interactions[: int(fits[-1]) + 1] if len(fits) else []


def agreement(
    scorer: Scorer,
    sample: Sequence[Interaction],
    pairs: Mapping[uuid.UUID, Pair],
    stars: Mapping[str, float],
    *,
    unseen: Mapping[uuid.UUID, bool],
    good_rating: float,
) -> Agreement:
    """What the model says of the sample beside what people said.

    Args:
        scorer: the model.
        sample: see `judged_sample`.
        pairs: readable texts of the sample.
        stars: mean rating of each judged interaction, 1–5, by its id as it was sent.
        unseen: whether no model was ever trained on the prompt.
        good_rating: people find a response good from here on.
    """
    judged = [one for one in sample if one.id in pairs and one.interaction_id in stars]
    counted = [one for one in judged if unseen[one.id]]
    found = Agreement(len(sample), len(judged), len(judged) - len(counted), len(counted))
    if len(counted) < 2:
        return found
    expected = scorer.score([pairs[one.id] for one in counted]).probability
    is_good = np.array([stars[one.interaction_id] >= good_rating for one in counted])
    hits = ((expected >= 0.5) == is_good).astype(np.float64)
    groups = [normalise_prompt(pairs[one.id].prompt) for one in counted]
    return Agreement(
        found.sample,
        found.judged,
        found.left_out,
        found.counted,
        share_interval(hits, groups),
        auc(is_good, expected),
        float(is_good.mean()),
        float(expected.mean()),
    )


async def read_stars(session: AsyncSession, project_id: int) -> dict[str, float]:
    """Mean stars, 1–5, that people gave each recorded interaction.

    A correction without a rating counts as a thumb down: left out, bad responses would be missing
    wherever experts correct them rather than rate them.
    """
    statement = select(
        col(Feedback.interaction_id),
        col(Feedback.rating),
        col(Feedback.human_rating),
        col(Feedback.thumbs),
        col(Feedback.corrected_response).is_not(None),
    ).where(
        col(Feedback.project_id) == project_id,
        col(Feedback.interaction_id).is_not(None),
        col(Feedback.step) == "",
    )
    found: dict[str, list[float]] = defaultdict(list)
    for interaction_id, rating, share, thumbs, is_corrected in await session.execute(statement):
        if rating is not None:
            found[str(interaction_id)].append(float(rating))
        elif share is not None:
            found[str(interaction_id)].append(1.0 + 4.0 * share)
        elif thumbs is not None:
            found[str(interaction_id)].append(THUMB_STARS[Thumb(thumbs)])
        elif is_corrected:
            found[str(interaction_id)].append(THUMB_STARS[Thumb.DOWN])
    return {interaction_id: fmean(stars) for interaction_id, stars in found.items()}
