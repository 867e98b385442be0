"""Fitting linear reward heads: one likelihood for all that was said, L2 by grouped CV."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.trainer.likelihood.evidence import Evidence
from services.trainer.likelihood.fitting import Features, Fitted, fit_path
from shared.errors import NotEnoughData

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FOLDS = 5


@dataclass(frozen=True)
class FittedWeights:
    """Weights on standardised features, with the L2 that grouped cross-validation chose.

    Attributes:
        weights: shape (f,).
        inverse_l2: the C of the penalty |w|² / 2C; larger means a weaker penalty.
        rewards: out-of-fold reward of each item, shape (n,).
        loss: out-of-fold mean -log-likelihood, nats.
    """

    weights: Floats
    inverse_l2: float
    rewards: Floats
    loss: float


def fit_weights(
    features: Features,
    evidence: Evidence,
    item_groups: Indices,
    *,
    grid: Sequence[float],
    seed: int,
    held: Indices | None = None,
) -> FittedWeights:
    """Weights at the penalty whose out-of-fold log-likelihood is best.

    Args:
        features: shape (n, f), dense or sparse, already scaled.
        evidence: m judgements of the n items.
        item_groups: prompt group of each item, shape (n,); no group is in two folds.
        grid: values of C to try, ascending.
        seed: of the folds.
        held: groups that alone choose the penalty, where the features have seen what was said of
            the others; rewards are out of fold for these only.

    Raises:
        NotEnoughData: there are fewer than two prompt groups.
    """
    if held is None:
        folds = list(grouped_folds(evidence.group, seed=seed))
    else:
        is_held = np.isin(evidence.group, held)
        folds = [(np.flatnonzero(~is_held), np.flatnonzero(is_held))]
    width = features.shape[1]
    penalties = [np.full(width, 1 / inverse_l2) for inverse_l2 in grid]
    with threadpool_limits(limits=1):  # such small products took 30 times as long on two threads
        found: Fitted = fit_path(features, evidence, item_groups, penalties, folds)
    return FittedWeights(found.point.weights, grid[found.best], found.rewards, found.loss)


def grouped_folds(groups: Indices, *, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Train and held-out rows of up to five folds that never split a group.

    Raises:
        NotEnoughData: there are fewer than two groups.
    """
    count = min(FOLDS, len(np.unique(groups)))
    if count < 2:
        raise NotEnoughData(
            "Training needs feedback on at least two different prompts; collect more."
        )
    from sklearn.model_selection import GroupKFold  # seconds of imports, for who trains

    splitter = GroupKFold(n_splits=count, shuffle=True, random_state=seed)
    yield from splitter.split(groups, groups=groups)
