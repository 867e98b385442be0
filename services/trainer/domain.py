"""Which texts a reward model was trained on, so that it can say when a text is unlike them."""

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from threadpoolctl import threadpool_limits

from services.trainer.conformal import grouped_quantile
from services.trainer.heads import Floats, Indices, grouped_folds
from shared.contracts.manifest import Domain
from shared.ml.domain import DomainModel, Part, PartDomain
from shared.ml.head import Embedded

LEVEL = 0.99
_TAIL = 0.95
_FEWEST_GROUPS = 99  # fewer have no 99 % quantile
_LEAST_VARIANCE = 1e-12  # of embeddings that are all the same
_MOST_ITEMS = 5000

Embeddings = NDArray[np.float32]


def fit_domain(
    embedded: Embedded, groups: Indices, parts: tuple[Part, ...], *, seed: int
) -> tuple[Domain, DomainModel] | None:
    """Mean and shrunk covariance of training embeddings, with a threshold from held-out prompts.

    Distances are those of prompts that the estimate has not seen, each prompt counting once. Those
    of a part are divided by what 95 % of prompts keep, so that no part's long tail hides another;
    the threshold is what 99 % keep with both. With fewer than 99 prompts there is no such number,
    so None.

    Args:
        embedded: n training pairs after the encoder.
        groups: prompt group of each, shape (n,).
        parts: embeddings to look at; the joined template has a `response` only.
        seed: of the sample and the folds.

    Source: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices".
    """
    rows = sample_rows(groups, seed=seed)
    known = groups[rows]
    count = len(np.unique(known))
    if count < _FEWEST_GROUPS:
        return None
    fitted, ratios = {}, []
    with threadpool_limits(limits=1):
        for name in parts:
            side = getattr(embedded, name)[rows]
            distances = _held_out_distances(side, known, seed)
            usual = grouped_quantile(distances, known, _TAIL) or 1.0
            ratios.append(distances / usual)
            fitted[name] = _fit(side, scale=usual)
    threshold = grouped_quantile(np.max(ratios, axis=0), known, LEVEL)
    if threshold is None:
        return None
    domain = Domain(parts=parts, threshold=threshold, level=LEVEL, groups=count)
    return domain, DomainModel(fitted, threshold)


def sample_rows(groups: Indices, *, seed: int) -> Indices:
    """At most 5,000 rows: one of each prompt group, in turn a second, and so on.

    More leave the estimate as it is; whoever has more embeds these alone.
    """
    if len(groups) <= _MOST_ITEMS:
        return np.arange(len(groups))
    drawn = np.random.default_rng(seed).permutation(len(groups))
    by_group = drawn[np.argsort(groups[drawn], kind="stable")]
    _, first, sizes = np.unique(groups[by_group], return_index=True, return_counts=True)
    turn = np.empty(len(groups), dtype=np.int64)
    turn[by_group] = np.arange(len(groups)) - np.repeat(first, sizes)
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")[:_MOST_ITEMS]])


def _held_out_distances(rows: Embeddings, groups: Indices, seed: int) -> Floats:
    distances = np.empty(len(groups))
    for kept, held in grouped_folds(groups, seed=seed):
        distances[held] = _fit(rows[kept]).distances(rows[held])
    return distances


def _fit(rows: Embeddings, *, scale: float = 1.0) -> PartDomain:
    """One part's domain; a text that comes again, as prompts do, counts once."""
    distinct = np.unique(rows, axis=0).astype(np.float64)
    spread = (
        LedoitWolf().fit(distinct).covariance_
        if len(distinct) > 1
        else np.zeros((distinct.shape[1],) * 2)
    )
    values, vectors = np.linalg.eigh(spread)
    lengths = np.sqrt(np.maximum(values, _LEAST_VARIANCE) * distinct.shape[1]) * scale
    whitening = vectors / lengths
    return PartDomain(distinct.mean(axis=0).astype(np.float32), whitening.astype(np.float32))
