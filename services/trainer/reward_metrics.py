"""What a reward model gets right on held-out rows, with intervals that respect prompt groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.audit.intervals import mean_difference, share
from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.groups import Groups, group_sums, resampled_means
from services.trainer.heads import Floats
from shared.ml.scorer import Pair, Scorer, Scores

MetricValue = float | int | str | None
Metrics = dict[str, MetricValue]

_RESAMPLES = 2000
_AT_ONCE = 1024  # pairs whose features are in memory together


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def hits(margins: Floats) -> Floats:
    """1 where the chosen response got the higher reward, 0.5 at a tie, else 0."""
    return np.where(margins == 0, 0.5, (margins > 0).astype(np.float64))


def rewards_of(scorer: Scorer, pairs: Sequence[Pair]) -> Floats:
    """The reward of each pair, shape (n,); equal ones are scored once, few of them at a time."""
    known: dict[Pair, float] = {}
    distinct = list(dict.fromkeys(pairs))
    for start in range(0, len(distinct), _AT_ONCE):
        some = distinct[start : start + _AT_ONCE]
        known |= zip(some, scorer.score(some).reward.tolist(), strict=True)
    return np.array([known[pair] for pair in pairs], dtype=np.float64)


def pair_margins(scorer: Scorer, pairs: Sequence[PreferencePair]) -> Floats:
    """Raw reward of chosen minus rejected for each pair, shape (pairs,)."""
    rewards = rewards_of(scorer, [side for pair in pairs for side in pair.sides])
    return np.asarray(rewards[0::2] - rewards[1::2])


def share_interval(hits: Floats, groups: Groups) -> Interval:
    """Mean of values from 0 to 1 with its 95 % interval, wide where they are few; see `share`."""
    found = share(hits, groups)
    return Interval(found.value, found.low, found.high)


def grouped_interval(values: Floats, groups: Groups, *, seed: int = 0) -> Interval:
    """Mean of values with a 95 % percentile bootstrap over whole groups."""
    means = resampled_means(*group_sums(values, groups), resamples=_RESAMPLES, seed=seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def pair_metrics(
    margins: Floats, pairs: Sequence[PreferencePair], *, length_margins: Floats
) -> Metrics:
    """Held-out pair accuracy with its interval, beside the baselines on the same pairs."""
    if not pairs:
        return {"test_pairs": 0, "pair_accuracy": None}
    groups = [pair.group for pair in pairs]
    found = share(hits(margins), groups)
    gain = mean_difference(hits(margins) - hits(length_margins), groups)
    longer = hits(np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=float))
    return {
        "test_pairs": len(pairs),
        "test_groups": len(set(groups)),
        "pair_accuracy": found.value,
        "pair_accuracy_low": found.low,
        "pair_accuracy_high": found.high,
        "length_accuracy": float(hits(length_margins).mean()),
        "gain_over_length": gain.value,
        "gain_over_length_low": gain.low,
        "gain_over_length_high": gain.high,
        "longer_wins": float(longer.mean()),
        "shorter_wins": float(1.0 - longer.mean()),
        "log_loss": float(np.logaddexp(0.0, -margins).mean()),
    }


def rated_metrics(scores: Scores, rated: Sequence[RatedResponse], *, good_rating: float) -> Metrics:
    """How scores follow held-out ratings: AUC of "good", Pearson r, and MSE on the 0–1 scale."""
    if len(rated) < 2:
        return {"test_rated": len(rated)}
    stars = np.array([one.rating for one in rated], dtype=float)
    is_good = stars >= good_rating
    return {
        "test_rated": len(rated),
        "rated_auc": auc(is_good, scores.reward),
        "rated_accuracy": float(((scores.probability >= 0.5) == is_good).mean()),
        "rated_correlation": correlation(scores.probability, stars),
        "rated_mse": float(np.mean((scores.probability - (stars - 1) / 4) ** 2)),
    }


def auc(is_good: np.ndarray[tuple[int], np.dtype[np.bool_]], rewards: Floats) -> float | None:
    """Area under the ROC curve, 0–1, or None when all labels agree."""
    if is_good.all() or not is_good.any():
        return None
    from sklearn.metrics import roc_auc_score  # seconds of imports, for those who have labels

    return float(roc_auc_score(is_good, rewards))


def correlation(left: Floats, right: Floats) -> float | None:
    """Pearson correlation, −1 to 1, or None when either is constant."""
    if left.std() == 0 or right.std() == 0:
        return None
    return float(np.corrcoef(left, right)[0, 1])
