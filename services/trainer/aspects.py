"""Heads for aspects that people rated beside the whole, such as accuracy or tone."""

from collections.abc import Mapping

import numpy as np

from services.trainer.dense_head import fit_dense
from services.trainer.evidence import Items
from services.trainer.heads import Floats, Indices
from services.trainer.likelihood.evidence import Evidence
from services.trainer.likelihood.thresholds import combine, expected_rating
from services.trainer.reward_metrics import Metrics, correlation
from shared.contracts.manifest import Feature

MINIMUM_ASPECT = 50
FEWEST_HELD = 10  # of them


def fit_aspects(
    rows: Floats,
    items: Items,
    widths: Mapping[Feature, int],
    *,
    seed: int,
    held: Indices | None = None,
) -> tuple[dict[str, Floats], Metrics]:
    """By name the weights of each aspect with enough ratings, and how well they predict.

    `sigmoid` of an aspect's reward is its expected rating, 0-1: a rating y counts as that share
    of a thumb up, so the fit is a fractional logistic regression with one cut for each rater.

    Args:
        rows: dense features of the items, shape (n, f).
        items: what was rated, and by whom.
        widths: of the blocks of features.
        seed: of the folds.
        held: groups that choose penalties and say how well aspects are predicted, where the
            features have seen what was said of the others; None cross-validates over all.

    Returns:
        Weights of shape (f + 1,), the bias last, and out-of-fold Pearson correlation and mean
        squared error of each aspect.

    Source: Papke & Wooldridge 1996, "Econometric methods for fractional response variables".
    """
    aspects: dict[str, Floats] = {}
    report: Metrics = {}
    for name, evidence in items.aspects.items():
        tested = evidence
        if held is not None:
            tested = evidence.take(np.flatnonzero(np.isin(evidence.group, held)))
        if not _is_enough(evidence, tested):
            continue
        found = fit_dense(rows, evidence, items.groups, widths, seed=seed, held=held)
        shares, thresholds = combine(found.rewards[:, None], tested)
        cut = thresholds.cuts["thumbs"]
        aspects[name] = np.append(shares[0] * found.weights, -shares[0] * found.offset - cut[0])
        predicted = expected_rating(shares[0] * found.rewards, cut, "thumbs")
        report |= _followed(name, predicted, tested)
    return aspects, report


def _is_enough(evidence: Evidence, tested: Evidence) -> bool:
    rated, held = (len(np.unique(part.ratings.item)) for part in (evidence, tested))
    is_learned = tested is evidence or len(tested) < len(evidence)
    is_rated = rated >= MINIMUM_ASPECT and held >= FEWEST_HELD
    return is_rated and is_learned and len(np.unique(evidence.group)) > 1


def _followed(name: str, predicted: Floats, evidence: Evidence) -> Metrics:
    """How out-of-fold predictions follow the mean rating of each item."""
    said = evidence.ratings
    size = len(predicted)
    total = np.bincount(said.item, evidence.weight, size)
    up = np.bincount(said.item, evidence.weight * said.level, size)
    rated = np.flatnonzero(total)
    given, expected = up[rated] / total[rated], predicted[rated]
    return {
        f"aspect_{name}_responses": len(rated),
        f"aspect_{name}_correlation": correlation(given, expected),
        f"aspect_{name}_mse": float(np.mean((given - expected) ** 2)),
    }
