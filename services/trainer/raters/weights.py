"""How much each rater's judgements count in a loss: by reliability, and never too much of one.

Near a margin of 0 a judgement of a rater who follows the preference with probability p moves the
noisy likelihood 2p - 1 times as far as one of a perfect rater; so a rater weighs 2p - 1, relative
to the median rater. Who contradicts the others is left with next to nothing, never turned round.
Then a burst is cut down to what was to be expected, and nobody counts more than a share of all.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.datasets import Evidence
from services.trainer.examples import RewardDataset
from services.trainer.raters.bursts import Burst, find_bursts
from services.trainer.raters.judgements import (
    collect_comparisons,
    count_judgements,
    of_training,
    opinions,
)
from services.trainer.raters.noisy_bradley_terry import Reliability, fit_reliability
from services.trainer.raters.outliers import WithOthers, agreement_with_others
from services.trainer.raters.posts import Post, collect_posts
from shared.ml.scorer import Pair

Floats = NDArray[np.float64]

LEAST_WEIGHT = 0.01
LARGEST_SHARE = 0.5

# a median rater below it is no measure of what a good one does
_LEAST_STANDARD = 0.75
# with few raters each has a large share: this many times an equal one is always allowed
_ALWAYS_ALLOWED = 1.5
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Reliable:
    """Probability with which a rater follows the preference: expected, and a 95 % interval."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class RaterWeights:
    """Weights by rater, in (0, 1], and what they were made of.

    Attributes:
        weights: of every known rater; who is not among them counts 1.
        judgements: how many each gave.
        reliability: of every rater who preferred anything to anything.
        others: agreement with others, of every rater who judged what others did.
        bursts: more posts in a short time than chance explains.
        metrics: for model cards: `raters`, `raters_down_weighted` (less than half),
            `raters_capped`, `raters_in_bursts`, `raters_outlying`, `bursts`, and
            `judgements_kept`, the share of all judgements' weight that is left.
    """

    weights: Mapping[str, float]
    judgements: Mapping[str, int]
    reliability: Mapping[str, Reliable]
    others: Mapping[str, WithOthers]
    bursts: Sequence[Burst]
    metrics: Mapping[str, float]


def rater_weights(
    judged: RewardDataset | Evidence,
    *,
    rewards: Mapping[Pair, float] | None = None,
    largest_share: float = LARGEST_SHARE,
) -> dict[str, float]:
    """How much each known rater counts, in (0, 1]; whoever is not named counts 1.

    Args:
        judged: what people said; of a dataset, its train side.
        rewards: out-of-fold rewards of a model trained on them without weights, in log-odds.
            Raters are then held against the model as well as against one another; without, raters
            whose responses nobody else judged all count the same.
        largest_share: no rater makes up more than this of all judgements, 0-1.
    """
    return dict(weigh_raters(judged, rewards=rewards, largest_share=largest_share).weights)


def weigh_raters(
    judged: RewardDataset | Evidence,
    *,
    rewards: Mapping[Pair, float] | None = None,
    largest_share: float = LARGEST_SHARE,
) -> RaterWeights:
    """As `rater_weights`, with all that is known of the raters."""
    evidence = of_training(judged) if isinstance(judged, RewardDataset) else judged
    counts, unknown = count_judgements(evidence)
    raters = sorted(counts)
    total = np.array([counts[rater] for rater in raters], dtype=np.float64)
    reliability, informative = _reliability(evidence, rewards)
    posts = collect_posts(evidence)
    bursts = find_bursts(posts)
    crowding = _burst_factors(bursts, posts, counts)
    weight = np.array([informative.get(who, 1.0) * crowding.get(who, 1.0) for who in raters])
    capped = cap_shares(weight * total, largest_share, others=float(unknown))
    kept = np.maximum(weight * capped, LEAST_WEIGHT)
    others = agreement_with_others(opinions(evidence))
    metrics = {
        "raters": len(raters),
        "raters_down_weighted": int((kept < 0.5).sum()),
        "raters_capped": int((capped < 1).sum()),
        "raters_in_bursts": len(set().union(*(burst.raters for burst in bursts))),
        "raters_outlying": sum(one.is_outlier for one in others.values()),
        "bursts": len(bursts),
        "judgements_kept": float((kept * total).sum() / max(total.sum(), 1.0)),
    }
    return RaterWeights(
        weights=dict(zip(raters, kept.tolist(), strict=True)),
        judgements=counts,
        reliability=reliability,
        others=others,
        bursts=bursts,
        metrics={name: float(value) for name, value in metrics.items()},
    )


def _reliability(
    evidence: Evidence, rewards: Mapping[Pair, float] | None
) -> tuple[dict[str, Reliable], dict[str, float]]:
    """What is known of each rater who compared anything, and the weight that follows."""
    compared, raters = collect_comparisons(evidence, rewards)
    if not raters:
        return {}, {}
    found = fit_reliability(compared)
    ends = (found.mean, *(found.quantile(end) for end in _INTERVAL))
    known = [Reliable(*map(float, row)) for row in np.stack(ends, axis=1)]
    weights = weights_of(found).tolist()
    return dict(zip(raters, known, strict=True)), dict(zip(raters, weights, strict=True))


def weights_of(reliability: Reliability) -> Floats:
    """2p - 1, relative to the median rater's, within [LEAST_WEIGHT, 1], shape (k,)."""
    standard = max(float(np.median(reliability.mean)), _LEAST_STANDARD)
    informative = (2.0 * reliability.mean - 1.0) / (2.0 * standard - 1.0)
    return np.clip(informative, LEAST_WEIGHT, 1.0)


def _burst_factors(
    bursts: Sequence[Burst], posts: Sequence[Post], counts: Mapping[str, int]
) -> dict[str, float]:
    """By rater what cuts bursts down to what was to be expected without them.

    A crowd is cut where at least half of a rater's posts are in crowds; one rater's own bursts are
    cut out of all his posts.
    """
    crowded = {row for burst in bursts if burst.kind != "rater" for row in burst.row_ids}
    in_crowds = Counter(post.rater for post in posts if post.row_id in crowded)
    own: dict[str, float] = defaultdict(lambda: 1.0)
    crowds: dict[str, float] = {}
    for burst in bursts:
        kept = min(1.0, burst.expected / burst.size)
        for rater, count in burst.posts_of.items():
            if burst.kind == "rater":
                own[rater] -= (1.0 - kept) * count / counts[rater]
            elif 2 * in_crowds[rater] >= counts[rater]:
                crowds[rater] = min(kept, crowds.get(rater, 1.0))
    return {rater: own[rater] * crowds.get(rater, 1.0) for rater in {*own, *crowds}}


def cap_shares(totals: Floats, largest_share: float, *, others: float = 0.0) -> Floats:
    """What each rater's total is multiplied by, so that none is more than a share of the sum.

    Args:
        totals: weight of each rater's judgements together, shape (k,), > 0.
        largest_share: 0-1; one and a half times an equal share is always allowed.
        others: weight of judgements that nobody is known to have made; part of the sum.

    Returns:
        Factors in (0, 1], shape (k,); 1 for whoever is under the cap.
    """
    count = len(totals)
    share = max(largest_share, _ALWAYS_ALLOWED / max(count, 1))
    if share >= 1.0:
        return np.ones(count)
    order = np.argsort(-totals)
    ranked = totals[order]
    below = others + ranked.sum() - ranked.cumsum()
    # with the j largest at the cap: cap = share * (j * cap + the rest)
    number = np.arange(1, count + 1)
    with np.errstate(divide="ignore"):
        caps = np.where(number * share < 1.0, share * below / (1.0 - number * share), np.inf)
    over = ranked[0] > share * (others + ranked.sum())
    fits = caps >= np.append(ranked[1:], 0.0)
    cap = caps[np.flatnonzero(fits)[0]] if over else np.inf
    return np.minimum(1.0, cap / totals)
