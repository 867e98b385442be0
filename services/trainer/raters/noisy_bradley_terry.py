"""How often each rater follows the preference that all judgements together point to.

The model: rater k prefers the response with the higher reward, in the sense of Bradley and Terry,
with probability p_k, and says the opposite otherwise:

    P(k says i beats j) = p_k · sigmoid(r_i - r_j) + (1 - p_k) · sigmoid(r_j - r_i)

p = 1 is a rater with no more noise than Bradley-Terry allows for, 1/2 says nothing, 0 says the
opposite. Rewards have normal priors, around a model's rewards where those are given. They are
integrated out by expectation propagation. Each judgement is held against what *other raters* say of
its two responses: nothing that a rater said elsewhere of either speaks for him, so that nobody
confirms himself. Given those, the posterior of each p_k on a grid is exact; its prior is the
distribution of p over all raters, learned along the way, so that a rater with few judgements is
taken for an average one.

Legend: m comparisons, n items (one response to one prompt), k raters, g points of the grid.

Sources: Chen, Bennett, Collins-Thompson & Horvitz 2013, "Pairwise ranking aggregation in a
crowdsourced setting" (the model, Crowd-BT); Minka 2001, "Expectation propagation" (the step).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import beta as beta_distribution

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

GRID = (np.arange(100) + 0.5) / 100

# before anything is known: 80 % reliable on average, worth as much as five raters
_PRIOR_SHAPE, _PRIOR_RATERS = (8.0, 2.0), 5.0
_LOGISTIC = 1.702  # the normal distribution that is closest to the logistic one
_LEAST_ROUNDS, _MOST_ROUNDS, _DAMPING, _SETTLED = 10, 60, 0.5, 1e-4
_LEAST_VARIANCE, _MOST_VARIANCE = 0.05, 25.0
_BINS = 101  # an odd number, so that what says nothing falls on one half


@dataclass(frozen=True)
class Comparisons:
    """m judgements of two items each.

    Attributes:
        winner: the item that was preferred, shape (m,).
        loser: the other one, shape (m,).
        rater: who said so, shape (m,); -1 when nobody knows, taken for an average rater.
        prior: what a model says of each item, in log-odds, shape (n,); 0 without a model.
        raters: how many raters there are, k.
    """

    winner: Indices
    loser: Indices
    rater: Indices
    prior: Floats
    raters: int


@dataclass(frozen=True)
class Reliability:
    """What is known of each rater's p, and of the rewards.

    Attributes:
        posterior: chance of each point of `GRID`, shape (k, g), rows that sum to 1.
        rewards: mean reward of each item, shape (n,).
    """

    posterior: Floats
    rewards: Floats

    @property
    def mean(self) -> Floats:
        """Expected p of each rater, shape (k,)."""
        return self.posterior @ GRID

    def quantile(self, share: float) -> Floats:
        """The value of p that each rater's is under with this chance, shape (k,)."""
        place: Indices = (self.posterior.cumsum(axis=1) < share).sum(axis=1)
        return np.take(GRID, np.minimum(place, len(GRID) - 1))


def fit_reliability(judged: Comparisons) -> Reliability:
    """The posterior of every rater's p; a hundred thousand comparisons take some seconds."""
    state = _Rewards(judged)
    population = _prior()
    reliability = np.full(judged.raters + 1, population @ GRID)
    posterior = np.tile(population, (judged.raters, 1))
    for done in range(_MOST_ROUNDS):
        follows = state.improve(reliability[judged.rater])
        posterior = _posterior(judged, follows, population)
        population = (_PRIOR_RATERS * _prior() + posterior.sum(axis=0)) / (
            _PRIOR_RATERS + judged.raters
        )
        before = reliability
        reliability = np.append(posterior @ GRID, population @ GRID)
        if done >= _LEAST_ROUNDS and np.abs(reliability - before).max() < _SETTLED:
            break
    return Reliability(posterior, state.means)


def _prior() -> Floats:
    density = beta_distribution.pdf(GRID, *_PRIOR_SHAPE)
    return np.asarray(density / density.sum())


def _posterior(judged: Comparisons, follows: Floats, population: Floats) -> Floats:
    """Chance of each point of the grid for each rater, from the chances that p = 1 would give.

    The likelihood of p is a product over the rater's judgements of p q + (1 - p)(1 - q); the q of
    all judgements are counted in bins, so that it is one product of matrices.
    """
    known = judged.rater >= 0
    bins = np.minimum((follows[known] * _BINS).astype(np.int64), _BINS - 1)
    shape = (judged.raters, _BINS)
    places = judged.rater[known] * _BINS + bins
    counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    centre = ((np.arange(_BINS) + 0.5) / _BINS)[:, None]
    logs = counts @ np.log(GRID * centre + (1 - GRID) * (1 - centre)) + np.log(population)
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


class _Rewards:
    """Normal beliefs of n rewards, and the two messages of each of m comparisons."""

    def __init__(self, judged: Comparisons) -> None:
        self.judged = judged
        self.items = np.stack([judged.winner, judged.loser])
        self.precisions: Floats = np.zeros(self.items.shape)
        self.shifts: Floats = np.zeros(self.items.shape)
        self.variance = 1.0
        self._own = _numbered_by_rater(judged.rater, self.items)
        self._believe()

    def improve(self, reliability: Floats) -> Floats:
        """One round; the chance of each judgement were p = 1, by what others say, shape (m,).

        Args:
            reliability: expected p of each comparison's rater, shape (m,).
        """
        precisions, means, scale = self._without(self.precisions, self.shifts)
        margin = (means[0] - means[1]) / scale
        # slope and curvature of the log of the judgement's chance, in the winner's reward
        faith = 2.0 * reliability - 1.0
        density = np.exp(-(margin**2) / 2) / np.sqrt(2 * np.pi)
        slope = faith * density / (1.0 - reliability + faith * ndtr(margin)) / scale
        bend = np.maximum(slope * (slope + margin / scale), 0.0)
        kept = 1.0 - np.minimum(bend / precisions, 0.9)
        signed = np.stack([slope, -slope])
        self.precisions += _DAMPING * (bend / kept - self.precisions)
        self.shifts += _DAMPING * ((signed + means * bend) / kept - self.shifts)
        self._believe()
        return self._follows()

    def _follows(self) -> Floats:
        """The chance of each judgement were p = 1, by what other raters say, shape (m,)."""
        own = self._own.ravel()
        precisions = np.bincount(own, self.precisions.ravel())[self._own].astype(np.float64)
        shifts = np.bincount(own, self.shifts.ravel())[self._own].astype(np.float64)
        _, means, scale = self._without(precisions, shifts)
        return np.asarray(ndtr((means[0] - means[1]) / scale))

    def _without(self, precisions: Floats, shifts: Floats) -> tuple[Floats, Floats, Floats]:
        """Beliefs of the items less some messages: precisions, means, and the margin's scale."""
        left = np.maximum(self.precision[self.items] - precisions, 1e-6)
        means = (self.shift[self.items] - shifts) / left
        return left, means, np.sqrt(_LOGISTIC**2 + (1.0 / left).sum(axis=0))

    def _believe(self) -> None:
        prior = 1.0 / self.variance
        count, items = len(self.judged.prior), self.items.ravel()
        self.precision = prior + np.bincount(items, self.precisions.ravel(), count)
        shifts = np.bincount(items, self.shifts.ravel(), count)
        self.shift = prior * self.judged.prior + shifts
        self.means = self.shift / self.precision
        spread = np.mean((self.means - self.judged.prior) ** 2 + 1.0 / self.precision)
        self.variance = float(np.clip(spread, _LEAST_VARIANCE, _MOST_VARIANCE))


def _numbered_by_rater(rater: Indices, items: Indices) -> Indices:
    """A number for each rater on each item, of unknown raters for each judgement; like `items`."""
    count = int(items.max(initial=0)) + 1
    unknown = int(rater.max(initial=0)) + 1 + np.arange(len(rater))
    key = np.where(rater < 0, unknown, rater) * count + items
    return np.unique(key, return_inverse=True)[1].reshape(items.shape)
