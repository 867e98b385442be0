"""Intervals for one more judgement, with a coverage that holds for prompts never seen before.

Legend: k judgements of responses to K prompt groups.

Judgements of responses to one prompt are not exchangeable with those of another, whole groups are.
So each group weighs the same in the quantile, however much was said about it, and the prompt to
come is one more group of which the worst is assumed: with one judgement a prompt this is the usual
ceil((K + 1) · level) / K quantile. Rewards, and the centre and spread they are compared with, come
from models that never saw the group.

Sources: Lee, Barber & Willett 2023, "Distribution-free inference with hierarchical data",
arXiv:2306.06342 (hierarchical conformal prediction); Lei et al. 2018, "Distribution-free predictive
inference for regression", section 5.2 (normalised residuals).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression

from services.trainer.heads import Floats, Indices, grouped_folds
from shared.contracts.manifest import Calibration, Conformal, Curve
from shared.ml.calibrated import curve_at
from shared.ml.head import probability

LEVEL = 0.9
_MOST_KNOTS = 10
_GROUPS_PER_KNOT = 20
_LEAST_SPREAD = 0.2  # of the mean one: no reward is trusted five times as much as the others


@dataclass(frozen=True)
class Judgements:
    """k judgements on a scale of 0-1, with out-of-fold raw rewards; all of shape (k,)."""

    rewards: Floats
    values: Floats
    groups: Indices

    def take(self, rows: Indices) -> "Judgements":
        """Some of the judgements."""
        return Judgements(self.rewards[rows], self.values[rows], self.groups[rows])


_Score = Callable[[Judgements], Floats]


def fit_rating_interval(rated: Judgements, *, level: float = LEVEL, seed: int = 0) -> Conformal:
    """An interval for the rating, 0-1, that a person gives a response.

    Raises:
        NotEnoughData: there are fewer than two prompt groups.
    """

    def fit(known: Judgements) -> _Score:
        centre, spread = fit_curves(known)
        return lambda held: (
            np.abs(held.values - curve_at(centre, held.rewards)) / curve_at(spread, held.rewards)
        )

    centre, spread = fit_curves(rated)
    return Conformal(
        target="rating",
        level=level,
        quantile=grouped_quantile(_cross_fitted(fit, rated, seed), rated.groups, level),
        centre=centre,
        spread=spread,
        groups=len(np.unique(rated.groups)),
    )


def fit_label_interval(
    labelled: Judgements, calibration: Calibration, *, level: float = LEVEL
) -> Conformal:
    """An interval that holds 1 when a person finds a response good, and 0 when not.

    Its half-width is the same everywhere: it reaches 1, 0 or both, and what it reaches are the
    labels of a conformal prediction set.

    Args:
        labelled: labels 1 and 0 with out-of-fold rewards.
        calibration: the one that will be served. Its two numbers may come of the same labels: with
            twelve prompts coverage was .95 then, with forty .91, with a thousand .90.
        level: share of labels to come that lie inside.

    Source: Sadinle, Lei & Wasserman 2019, "Least ambiguous set-valued classifiers".
    """
    distances = np.abs(labelled.values - probability(labelled.rewards, calibration))
    return Conformal(
        target="label",
        level=level,
        quantile=grouped_quantile(distances, labelled.groups, level),
        groups=len(np.unique(labelled.groups)),
    )


def grouped_quantile(scores: Floats, groups: Indices, level: float) -> float | None:
    """The least score that covers `level` of a new group, or None with too few groups to say.

    Every group weighs 1 / (K + 1), shared by its k_g scores; the rest is the group to come.

    Args:
        scores: nonconformity, shape (k,); larger is stranger.
        groups: group of each score, shape (k,).
        level: share to cover, 0-1.

    Source: Lee, Barber & Willett 2023, arXiv:2306.06342, hierarchical conformal prediction.
    """
    weights = group_weights(groups)
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(weights[order]) / (weights.sum() + 1.0)
    at = int(np.searchsorted(share, level - 1e-9))
    return float(scores[order[at]]) if at < len(order) else None


def group_weights(groups: Indices) -> Floats:
    """1 / size of the group of each row, shape (k,): every group weighs 1 in total."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / sizes[member])


def fit_curves(rated: Judgements) -> tuple[Curve, Curve]:
    """The expected value by reward, never falling, and the mean distance from it.

    Rewards are cut into up to ten bins of equal weight, of twenty groups at least; a knot is the
    mean of its bin.
    """
    weights = group_weights(rated.groups)
    bins = _bins(rated.rewards, weights)
    places = _bin_means(rated.rewards, weights, bins)
    sizes = np.bincount(bins, weights=weights)
    means = _bin_means(rated.values, weights, bins)
    rising = IsotonicRegression().fit(places, means, sample_weight=sizes).predict(places)
    centre = _curve(places, rising)
    distances = np.abs(rated.values - curve_at(centre, rated.rewards))
    least = max(_LEAST_SPREAD * float(np.average(distances, weights=weights)), 1e-3)
    spreads = np.maximum(_bin_means(distances, weights, bins), least)
    return centre, _curve(places, spreads)


def _bins(rewards: Floats, weights: Floats) -> Indices:
    """The bin of each reward, ascending from 0; equal rewards share one."""
    count = int(np.clip(weights.sum() // _GROUPS_PER_KNOT, 1, _MOST_KNOTS))
    order = np.argsort(rewards, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    edges = rewards[order[np.searchsorted(share, np.arange(1, count) / count)]]
    _, bins = np.unique(np.searchsorted(np.unique(edges), rewards), return_inverse=True)
    return np.asarray(bins, dtype=np.int64)


def _bin_means(values: Floats, weights: Floats, bins: Indices) -> Floats:
    sums = np.bincount(bins, weights=weights * values)
    return np.asarray(sums / np.bincount(bins, weights=weights))


def _curve(places: Floats, values: Floats) -> Curve:
    return Curve(rewards=tuple(places.tolist()), values=tuple(np.asarray(values).tolist()))


def _cross_fitted(fit: Callable[[Judgements], _Score], known: Judgements, seed: int) -> Floats:
    """Nonconformity of each judgement by what was fitted without its group, shape (k,)."""
    scores = np.empty(len(known.values))
    for kept, held in grouped_folds(known.groups, seed=seed):
        scores[held] = fit(known.take(kept))(known.take(held))
    return scores
