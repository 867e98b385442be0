"""How much the judgements of a training set tell about a linear head's weights.

Legend: n items, f dense features, m judgements, k directions that are kept.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, vstack
from threadpoolctl import threadpool_limits

from services.trainer.heads import Floats
from services.trainer.likelihood.evidence import Evidence
from shared.ml.posterior import Posterior

MOST_DIRECTIONS = 128
# A rating tells the reward about as well as a comparison at even odds: p (1 - p) at p = 1/2.
_OF_A_RATING = 0.25
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Judged:
    """What was judged, as rows over n items, and how much each judgement tells.

    Attributes:
        rows: 1 at a rated item; 1 and -1 at the two items of a comparison; shape (m, n).
        weight: how much each judgement counts, > 0, shape (m,).
        is_comparison: which rows compare two items, shape (m,).
    """

    rows: csr_matrix
    weight: Floats
    is_comparison: np.ndarray[tuple[int], np.dtype[np.bool_]]


def judged_items(evidence: Evidence, items: int) -> Judged:
    """The evidence as rows over the items.

    A tie tells about as much as a choice. A ranking counts as the comparisons of neighbours, the
    least that it says.
    """
    compared, rated = evidence.ends
    rankings = evidence.rankings
    better, worse = rankings[:, :-1], rankings[:, 1:]
    is_there = worse >= 0
    first = np.concatenate([evidence.comparisons.first, better[is_there]])
    second = np.concatenate([evidence.comparisons.second, worse[is_there]])
    ranked = np.repeat(evidence.weight[rated:], is_there.sum(axis=1))
    weight = np.concatenate([evidence.weight[:compared], ranked, evidence.weight[compared:rated]])
    rows = vstack(
        [_ones(first, items) - _ones(second, items), _ones(evidence.ratings.item, items)],
        format="csr",
    )
    return Judged(rows, weight, np.arange(len(weight)) < len(first))


def fit_posterior(
    features: Floats,
    judged: Judged,
    rewards: Floats,
    prior: Floats,
    *,
    most: int = MOST_DIRECTIONS,
) -> Posterior:
    """The posterior of a head's weights after a fit.

    Args:
        features: raw dense features of the items, shape (n, f).
        judged: what was said of them.
        rewards: the fitted head's reward of each item, shape (n,).
        prior: standard deviation of each weight before anything was said, shape (f,), >= 0.
        most: most directions to keep; directions that tell less than 1 % are dropped.

    Returns:
        The posterior; see `shared.ml.posterior` for its form.
    """
    centre = features.mean(axis=0)
    margins = judged.rows @ rewards
    odds = np.exp(-np.logaddexp(0.0, -margins))
    tells = judged.weight * np.where(judged.is_comparison, odds * (1.0 - odds), _OF_A_RATING)
    with threadpool_limits(limits=1):
        design = judged.rows @ _scaled(features, centre, prior)
        design *= np.sqrt(tells)[:, None]
        found, directions = _principal(design, most)
    shares = found / (1.0 + found)
    kept = shares >= _LEAST_SHARE
    return Posterior(
        centre.astype(np.float32),
        np.asarray(prior, dtype=np.float32),
        directions[:, kept].astype(np.float32),
        shares[kept].astype(np.float32),
    )


def _scaled(features: Floats, centre: Floats, prior: Floats) -> Floats:
    """Features in units of the prior, made in one copy."""
    scaled = features - centre
    scaled *= prior
    return scaled


def _ones(items: np.ndarray[tuple[int], np.dtype[np.int64]], width: int) -> csr_matrix:
    return csr_matrix((np.ones(len(items)), items, np.arange(len(items) + 1)), (len(items), width))


def _principal(design: Floats, most: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues of design' design, shape (k,), and their directions, (f, k).

    Found from the smaller of the two products, since both have the same eigenvalues.
    """
    rows, width = design.shape
    is_wide = rows < width
    product = design @ design.T if is_wide else design.T @ design
    size = len(product)
    if size == 0:
        return np.empty(0), np.empty((width, 0))
    values, vectors = eigh(product, subset_by_index=(max(size - most, 0), size - 1))
    told = values > 1e-10 * max(values[-1], 1e-10)
    values, vectors = values[told], vectors[:, told]
    return values, design.T @ vectors / np.sqrt(values) if is_wide else vectors
