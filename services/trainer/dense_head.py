"""The dense part of a head: standardised features, the L2 penalty and what it shrinks most."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from threadpoolctl import threadpool_limits

from services.trainer.heads import FittedWeights, Floats, Indices, fit_weights
from services.trainer.likelihood.evidence import Evidence
from services.trainer.reward_metrics import Metrics
from shared.contracts.manifest import Feature

DENSE_GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
# How freely each weight of a block may speak beside one of an embedding; 1 unless named. A block of
# ten numbers needs larger weights than one of hundreds to matter at all; the product of prompt and
# response is mostly noise where people judge how a response is written, and tells most where they
# judge whether it is to the point. Each profile suits some sets of human judgements best
# (docs/quality.md), so cross-validation chooses.
PROFILES: tuple[Mapping[Feature, float], ...] = (
    MappingProxyType({"peak": 0.5, "product": 0.3, "surface": 3.0, "overlap": 4.0}),
    MappingProxyType({"peak": 1.0, "product": 0.3, "surface": 3.0, "overlap": 10.0}),
    MappingProxyType({"peak": 0.5, "product": 1.0, "surface": 3.0, "overlap": 4.0}),
)
# Some encoders have dead dimensions (three of all-MiniLM-L6-v2): scaled up they would be noise.
_LEAST_SPREAD = 1e-6
_LEAST_SHARE = 1e-10  # of the variance along the first axis; rounding makes the rest
_NOTHING = 1e-300  # instead of the variance of rows that are all the same


@dataclass(frozen=True)
class DenseFit:
    """Weights on raw features and how they were found.

    Attributes:
        weights: shape (f,).
        offset: mean reward they give.
        rewards: out-of-fold reward of each item, centred, shape (n,).
        prior: standard deviation of each weight under the penalty alone, shape (f,).
    """

    weights: Floats
    offset: float
    rewards: Floats
    prior: Floats
    report: Metrics


def fit_dense(
    rows: Floats,
    evidence: Evidence,
    groups: Indices,
    widths: Mapping[Feature, int],
    *,
    seed: int,
) -> DenseFit:
    """The dense head; a weight of a standardised block of strength s costs w² / 2Cs².

    Grouped cross-validation chooses C, how freely all blocks together may speak, and one of the
    `PROFILES` of strengths.

    Args:
        rows: features, shape (n, f).
        evidence: judgements of the rows.
        groups: prompt group of each row, shape (n,).
        widths: of the blocks of features, in their order.
        seed: of the folds.
    """
    spread = rows.std(axis=0)
    scale = np.where(spread > _LEAST_SPREAD * spread.max(), spread, 1.0)
    centre = rows.mean(axis=0)
    scaled = (rows - centre) / scale
    fits: list[tuple[FittedWeights, Floats, Floats]] = []
    for strength in {tuple(_strength(profile, widths)): None for profile in PROFILES}:
        each = np.array(strength)
        axes = principal_axes(scaled * each)
        turned = (scaled * each) @ axes
        fits.append((fit_weights(turned, evidence, groups, grid=DENSE_GRID, seed=seed), axes, each))
    fitted, axes, each = min(fits, key=lambda fit: fit[0].loss)
    weights = (axes @ fitted.weights) * each / scale
    report: Metrics = {"inverse_l2": fitted.inverse_l2}
    rewards = fitted.rewards - fitted.rewards.mean()
    prior = np.sqrt(fitted.inverse_l2) * each / scale
    return DenseFit(weights, float(centre @ weights), rewards, prior, report)


def principal_axes(rows: Floats) -> Floats:
    """The k <= min(n, f) directions in which rows of shape (n, f) vary, shape (f, k).

    Turning rows and weights changes no reward and no penalty |w|², and along these axes the losses
    hardly depend on one another, so that a fit takes a third of the steps.
    """
    with threadpool_limits(limits=1):
        if rows.shape[0] >= rows.shape[1]:
            spread, axes = np.linalg.eigh(rows.T @ rows)
        else:
            spread, sides = np.linalg.eigh(rows @ rows.T)
            axes = rows.T @ (sides / np.sqrt(np.maximum(spread, _NOTHING)))
    return np.asarray(axes[:, spread >= _LEAST_SHARE * spread[-1]])


def _strength(profile: Mapping[Feature, float], widths: Mapping[Feature, int]) -> list[float]:
    return [profile.get(name, 1.0) for name, width in widths.items() for _ in range(width)]
