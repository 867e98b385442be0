"""From raw rewards to the probability that a response is good."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from services.trainer.evidence import Items
from services.trainer.heads import Floats
from shared.contracts.manifest import Calibration

_LEAST_SLOPE = 1e-3  # a model without signal stays in order and says about 0.5


def good_labels(items: Items, *, good_rating: float) -> tuple[NDArray[np.int64], Floats]:
    """Items that people called good or not: their indices and labels 1 or 0, with repeats.

    A rated item is good from `good_rating` stars on; an unrated one is good in every comparison
    it won and bad in every one it lost.
    """
    is_rated = ~np.isnan(items.ratings)
    rated = np.flatnonzero(is_rated)
    better, worse = items.evidence.won
    sides = np.concatenate([better, worse])
    won = np.repeat([1.0, 0.0], len(better))
    is_open = ~is_rated[sides]
    labels = np.concatenate([(items.ratings[rated] >= good_rating).astype(float), won[is_open]])
    return np.concatenate([rated, sides[is_open]]), labels


def fit_calibration(rewards: Floats, labels: Floats) -> Calibration:
    """Platt's sigmoid on out-of-fold rewards: on average it says the share of good labels.

    With one label only, or none, there is nothing to fit: the reward is then taken as log-odds.

    Args:
        rewards: out-of-fold raw rewards, shape (k,).
        labels: 1 for good and 0 for not, shape (k,).

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """
    if len(np.unique(labels)) < 2 or rewards.min() == rewards.max():
        return Calibration(slope=1.0, intercept=0.0, method="none")
    spread = float(rewards.std())
    model = LogisticRegression(C=1e3)
    model.fit((rewards / spread)[:, None], labels)
    slope = max(float(model.coef_[0, 0]) / spread, _LEAST_SLOPE)
    intercept = float(model.intercept_[0])
    return Calibration(slope=slope, intercept=intercept, method="platt-grouped-out-of-fold")
