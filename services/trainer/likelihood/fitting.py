"""Minimising the penalised likelihood of a linear reward, and choosing its penalty.

A reward is r(x) = w · x. What is minimised is Σ weight · loss + ½ Σ penalty · w² + the prior of the
nuisance parameters, by L-BFGS in coordinates in which every second derivative is about 1.

Legend: n items, f features, m judgements, k penalties that are tried.

Source: Liu & Nocedal 1989, "On the limited memory BFGS method for large scale optimization".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from services.trainer.likelihood.evidence import Evidence, Floats, Indices
from services.trainer.likelihood.nuisance import Nuisance, lay_out
from services.trainer.likelihood.objective import judge

Features = Floats  # or a SciPy CSR matrix of the same shape

# A penalty is chosen by comparisons, which the model is for, unless there are hardly any.
FEWEST_COMPARISONS = 200

_STEPS = 500
_TOLERANCE = 1e-5  # nats a judgement, by scaled coordinate
_CURVATURE = 0.2  # of a logistic loss, at most ¼
_NOTHING = 1e-6
_AT_ONCE = 1024
_HOPELESS = 1.1  # a path stops when its held-out loss is this many times the least so far


@dataclass(frozen=True)
class Point:
    """Weights of the features, shape (f,), and the nuisance vector."""

    weights: Floats
    vector: Floats


class LinearLikelihood:
    """The objective for some judgements; products with the features are made as small as possible.

    With fewer contrasts than items the features of contrasts are computed once, and otherwise
    rewards of the items first.
    """

    def __init__(self, features: Features, evidence: Evidence, nuisance: Nuisance) -> None:
        self._evidence, self._nuisance = evidence, nuisance
        contrasts = evidence.contrasts(features.shape[0])
        is_few = contrasts.shape[0] <= contrasts.shape[1]
        self._rows: Features = contrasts @ features if is_few else features
        self._spread: csr_matrix | None = None if is_few else contrasts
        self._total = float(evidence.weight.sum())
        self._curvature = self._column_curvature()

    def fit(self, penalty: Floats, start: Point, *, are_shares: bool = False) -> Point:
        """The minimum at a penalty, shape (f,), on the way from `start`.

        Weights that are shares are held to 1 instead of 0, and none is below zero.
        """
        width = len(penalty)
        precision = np.concatenate([penalty, self._nuisance.precision])
        centre = np.concatenate([np.full(width, float(are_shares)), self._nuisance.start])
        scale = 1.0 / np.sqrt(self._curvature + precision)

        def scaled_cost(scaled: Floats) -> tuple[float, Floats]:
            at = scaled * scale
            loss, slopes = self.cost(Point(at[:width], at[width:]))
            held = precision * (at - centre)
            total = loss + 0.5 * held @ (at - centre)
            return total / self._total, (slopes + held) * scale / self._total

        bounds = [(0.0, None)] * width + [(None, None)] * self._nuisance.size
        begin = np.concatenate([start.weights, start.vector]) / scale
        found = minimize(
            scaled_cost, begin, method="L-BFGS-B", jac=True,
            bounds=bounds if are_shares else None,
            options={"maxiter": _STEPS, "ftol": 1e-9, "gtol": _TOLERANCE},
        )  # fmt: skip
        at = found.x * scale
        return Point(at[:width], at[width:])

    def cost(self, at: Point) -> tuple[float, Floats]:
        """The weighted loss without any penalty, and its gradient by weights and nuisance."""
        values = self._rows @ at.weights
        contrasts = values if self._spread is None else self._spread @ values
        costs = judge(self._evidence, contrasts, self._nuisance, at.vector)
        by_row = costs.by_contrast if self._spread is None else self._spread.T @ costs.by_contrast
        slopes = np.concatenate([self._rows.T @ by_row, costs.by_nuisance])
        return float(self._evidence.weight @ costs.losses), slopes

    def _column_curvature(self) -> Floats:
        """About the second derivative of the losses by each parameter."""
        rows = self._rows
        share = self._total / rows.shape[0]
        by_weight = _CURVATURE * share * _square_sums(rows)
        return np.concatenate([by_weight, self._nuisance.curvature(self._evidence)])


@dataclass(frozen=True)
class Fitted:
    """The best penalty's weights, and what they gave for prompts they had not seen.

    Attributes:
        best: index of the penalty.
        point: fitted on all judgements; `nuisance` is the layout of its vector.
        rewards: reward of each item by a fit that knew no judgement of its group, where there was
            one, and else by the final fit, shape (n,).
        loss: out-of-fold mean loss, nats a judgement.
    """

    best: int
    point: Point
    nuisance: Nuisance
    rewards: Floats
    loss: float


def fit_path(
    features: Features,
    evidence: Evidence,
    item_groups: Indices,
    penalties: Sequence[Floats],
    folds: Sequence[tuple[Indices, Indices]],
) -> Fitted:
    """The penalty with the least loss on held-out judgements, and the weights it gives.

    Args:
        features: shape (n, f).
        evidence: m judgements of the items.
        item_groups: prompt group of each item, shape (n,).
        penalties: of each feature, shape (f,); each fit starts from the one before.
        folds: kept and held-out judgements; groups are never split.
    """
    nuisance = lay_out(evidence)
    counted = np.where(_counted(evidence), evidence.weight, 0.0)
    rewards, losses = np.zeros((len(penalties), features.shape[0])), np.zeros(len(penalties))
    points = [Point(np.zeros(features.shape[1]), nuisance.start)] * len(penalties)
    usable = len(penalties)
    for kept, held in folds:
        inside = np.isin(item_groups, evidence.group[held])
        tested, known = evidence.take(held), features[inside]
        contrasts = tested.contrasts(features.shape[0])
        likelihood = LinearLikelihood(features, evidence.take(kept), nuisance)
        path = _path(likelihood, penalties[:usable], points[0])
        least = np.inf
        for at, points[at] in enumerate(path):
            rewards[at, inside] = known @ points[at].weights
            costs = judge(tested, contrasts @ rewards[at], nuisance, points[at].vector)
            loss = float(counted[held] @ costs.losses)
            losses[at] += loss
            least = min(least, loss)
            if loss > _HOPELESS * least:
                usable = at + 1
                break
        del likelihood, path, known  # most of the features again, beside those of the next fold
    best = int(np.argmin(losses[:usable]))
    full = LinearLikelihood(features, evidence, nuisance).fit(penalties[best], points[best])
    ever_held = np.concatenate([held for _, held in folds])
    losses /= max(float(counted[ever_held].sum()), _NOTHING)
    was_held = np.isin(item_groups, evidence.group[ever_held])
    unfolded = np.where(was_held, rewards[best], features @ full.weights)
    return Fitted(best, full, nuisance, unfolded, float(losses[best]))


def fit_shares(rewards: Floats, evidence: Evidence) -> Point:
    """Non-negative weights that combine k models' out-of-fold rewards, and the nuisance beside.

    They are 1 as far as judgements do not say otherwise, and where no model says anything: a
    combination is never all zero.

    Args:
        rewards: shape (n, k).
        evidence: judgements of the n items.
    """
    nuisance = lay_out(evidence)
    likelihood = LinearLikelihood(rewards, evidence, nuisance)
    start = Point(np.ones(rewards.shape[1]), nuisance.start)
    point = likelihood.fit(np.ones(rewards.shape[1]), start, are_shares=True)
    weights = point.weights if point.weights.max() > _NOTHING else start.weights
    return Point(weights, point.vector)


def _square_sums(rows: Features) -> Floats:
    """Of each column the sum of the squares, shape (f,), without a second copy of all rows."""
    if not isinstance(rows, np.ndarray):
        return np.asarray(rows.power(2).sum(axis=0)).ravel()
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), _AT_ONCE):
        squares = rows[start : start + _AT_ONCE] ** 2
        squares[0] += total  # so the rows are summed in their order, as they are all at once
        total = squares.sum(axis=0)
    return total


def _path(
    likelihood: LinearLikelihood, penalties: Sequence[Floats], start: Point
) -> Iterator[Point]:
    """The fit at each penalty, each from where the one before ended."""
    for penalty in penalties:
        start = likelihood.fit(penalty, start)
        yield start


def _counted(evidence: Evidence) -> NDArray[np.bool_]:
    """Which judgements a penalty is chosen by: comparisons and rankings, if there are enough."""
    compared, rated = evidence.ends
    is_rating = (np.arange(len(evidence)) >= compared) & (np.arange(len(evidence)) < rated)
    is_enough = np.count_nonzero(~is_rating) >= FEWEST_COMPARISONS
    return ~is_rating if is_enough or not is_rating.any() else np.full(len(evidence), True)
