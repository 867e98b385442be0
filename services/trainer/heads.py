"""Fitting linear reward heads: one likelihood for comparisons and stars, L2 by grouped CV.

Legend: n items (one response to one prompt each), f features, m evidence rows.

A reward is r(x) = w · x. A comparison costs -log sigmoid(r(chosen) - r(rejected)); a rating costs
-log sigmoid(±(r(x) - b_k)) at every cut b_k between two stars, a quarter each. Both are rows of
one logistic regression without intercept: a difference of features, or features beside a cut.

Sources: Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1 with K = 2;
Rennie & Srebro 2005, "Loss functions for preference levels", the all-threshold loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array
from scipy.sparse import hstack as sparse_hstack
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from shared.errors import NotEnoughData

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Features = Floats  # or a SciPy CSR matrix of the same shape

STAR_CUTS = np.array([1.5, 2.5, 3.5, 4.5])
FOLDS = 5

_CUT_SCALE = 30.0  # large inputs leave the cuts practically without a penalty


@dataclass(frozen=True)
class Evidence:
    """m binary rows: item `left` against item `right`, or against a cut.

    Attributes:
        left: item that is compared, shape (m,).
        right: the item it beat, or -1 when it is compared with a cut.
        cut: index into `STAR_CUTS`, or -1 for a comparison of two items.
        is_above: whether `left` won; always true for comparisons.
        weight: how much the row counts, > 0.
        group: prompt group of `left` (and of `right`, which shares the prompt).
    """

    left: Indices
    right: Indices
    cut: Indices
    is_above: NDArray[np.bool_]
    weight: Floats
    group: Indices

    def __len__(self) -> int:
        return len(self.left)

    @property
    def is_comparison(self) -> NDArray[np.bool_]:
        """Which rows compare two responses."""
        return self.right >= 0

    def take(self, rows: Indices) -> "Evidence":
        """Some of the rows."""
        return Evidence(
            left=self.left[rows],
            right=self.right[rows],
            cut=self.cut[rows],
            is_above=self.is_above[rows],
            weight=self.weight[rows],
            group=self.group[rows],
        )


@dataclass(frozen=True)
class FittedWeights:
    """Weights on standardised features, with the L2 that grouped cross-validation chose.

    Attributes:
        weights: shape (f,).
        inverse_l2: scikit-learn's C; larger means a weaker penalty.
        logits: out-of-fold log-odds of each evidence row, shape (m,).
        rewards: out-of-fold reward of each item, shape (n,).
        loss: out-of-fold mean -log-likelihood, nats.
    """

    weights: Floats
    inverse_l2: float
    logits: Floats
    rewards: Floats
    loss: float


def fit_weights(
    features: Features,
    evidence: Evidence,
    item_groups: Indices,
    *,
    grid: tuple[float, ...],
    seed: int,
) -> FittedWeights:
    """Weights at the penalty whose out-of-fold log-likelihood is best.

    Args:
        features: shape (n, f), dense or sparse, already scaled.
        evidence: m rows over the n items.
        item_groups: prompt group of each item, shape (n,); no group is in two folds.
        grid: values of C to try.
        seed: of the folds.

    Raises:
        NotEnoughData: there are fewer than two prompt groups.
    """
    folds = list(grouped_folds(evidence.group, seed=seed))
    with threadpool_limits(limits=1):  # such small products took 30 times as long on two threads
        rows = _design(features, evidence)
        tried = [_cross_validate(rows, evidence, folds, inverse_l2) for inverse_l2 in grid]
        losses = [_loss(logits, evidence) for logits, _ in tried]
        best = int(np.argmin(losses))
        full = _fit(rows, evidence, grid[best])
    logits, by_fold = tried[best]
    width = features.shape[1]
    rewards = np.asarray(features @ full[:width])
    for (_, held), weights in zip(folds, by_fold, strict=True):
        inside = np.isin(item_groups, evidence.group[held])
        rewards[inside] = features[inside] @ weights[:width]
    return FittedWeights(full[:width], grid[best], logits, rewards, losses[best])


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
    splitter = GroupKFold(n_splits=count, shuffle=True, random_state=seed)
    yield from splitter.split(groups, groups=groups)


def stack_weights(logits: Floats, evidence: Evidence) -> Floats:
    """Non-negative weights that combine k models' out-of-fold log-odds, shape (k,).

    Equal weights when no model says anything, so that a combination is never all zero.
    """
    weights = np.maximum(_fit(logits, evidence, 1.0), 0.0)
    return weights if weights.any() else np.ones(logits.shape[1])


def _cross_validate(
    rows: Features,
    evidence: Evidence,
    folds: list[tuple[Indices, Indices]],
    inverse_l2: float,
) -> tuple[Floats, list[Floats]]:
    logits, by_fold = np.zeros(len(evidence)), []
    for kept, held in folds:
        weights = _fit(rows[kept], evidence.take(kept), inverse_l2)
        logits[held] = rows[held] @ weights
        by_fold.append(weights)
    return logits, by_fold


def _design(features: Features, evidence: Evidence) -> Features:
    """Evidence rows, shape (m, f) or (m, f + cuts) when some rows are ratings."""
    rows = features[evidence.left]
    beaten = evidence.is_comparison
    if beaten.all():
        return rows - features[evidence.right]
    scale = diags_array(beaten.astype(float))
    rows = rows - scale @ features[np.maximum(evidence.right, 0)]
    cuts = np.zeros((len(evidence), len(STAR_CUTS)))
    cuts[~beaten, evidence.cut[~beaten]] = -_CUT_SCALE
    if isinstance(rows, np.ndarray):
        return np.hstack([rows, cuts])
    joined: Features = csr_matrix(sparse_hstack([rows, cuts]))
    return joined


def _fit(rows: Features, evidence: Evidence, inverse_l2: float) -> Floats:
    """Weights of a logistic regression; comparisons alternate sides so that both labels occur."""
    is_flipped = evidence.is_comparison & (np.arange(len(evidence)) % 2 == 1)
    sides = np.where(is_flipped, -1.0, 1.0)
    flipped = diags_array(sides) @ rows
    model = LogisticRegression(C=inverse_l2, fit_intercept=False, max_iter=1000)
    model.fit(flipped, evidence.is_above ^ is_flipped, sample_weight=evidence.weight)
    return np.asarray(model.coef_[0], dtype=np.float64)


def _loss(logits: Floats, evidence: Evidence) -> float:
    """Mean -log-likelihood in nats, over comparisons when there are any."""
    counted = evidence.is_comparison if evidence.is_comparison.any() else np.full(len(logits), True)
    signed = np.where(evidence.is_above, logits, -logits)[counted]
    return float(np.average(np.logaddexp(0.0, -signed), weights=evidence.weight[counted]))
