"""The dense part of a head: standardised features, the L2 penalty and what it shrinks most."""

from collections.abc import Mapping, Sequence
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
class Search:
    """What cross-validation chooses from: profiles, and values of C, ascending."""

    profiles: Sequence[Mapping[Feature, float]] = PROFILES
    grid: Sequence[float] = DENSE_GRID


EVERYTHING = Search()


@dataclass(frozen=True)
class DenseFit:
    """Weights on raw features and how they were found.

    Attributes:
        weights: shape (f,).
        offset: mean reward they give.
        rewards: out-of-fold reward of each item, centred, shape (n,).
        prior: standard deviation of each weight under the penalty alone, shape (f,).
        around: the profile that was chosen and the values of C next to the chosen one, which a
            fit to nearly the same judgements may choose from.
    """

    weights: Floats
    offset: float
    rewards: Floats
    prior: Floats
    around: Search
    report: Metrics


def fit_dense(
    rows: Floats,
    evidence: Evidence,
    groups: Indices,
    widths: Mapping[Feature, int],
    *,
    seed: int,
    search: Search = EVERYTHING,
    held: Indices | None = None,
) -> DenseFit:
    """The dense head; a weight of a standardised block of strength s costs w² / 2Cs².

    Grouped cross-validation chooses C, how freely all blocks together may speak, and one of the
    profiles of strengths.

    Args:
        rows: features, shape (n, f).
        evidence: judgements of the rows.
        groups: prompt group of each row, shape (n,).
        widths: of the blocks of features, in their order.
        seed: of the folds.
        search: what is chosen from.
        held: groups that choose instead of cross-validation; see `fit_weights`.
    """
    spread = rows.std(axis=0)
    scale = np.where(spread > _LEAST_SPREAD * spread.max(), spread, 1.0)
    centre = rows.mean(axis=0)

    def fit_shaped(each: Floats) -> tuple[FittedWeights, Floats]:
        turned, axes = _turned(rows, centre, scale, each)
        fit = fit_weights(turned, evidence, groups, grid=search.grid, seed=seed, held=held)
        return fit, axes

    fits: list[tuple[FittedWeights, Floats, Floats, Mapping[Feature, float]]] = []
    for strength, profile in {_strength(it, widths): it for it in search.profiles}.items():
        each = np.array(strength)
        fits.append((*fit_shaped(each), each, profile))
    fitted, axes, each, profile = min(fits, key=lambda found: found[0].loss)
    weights = (axes @ fitted.weights) * each / scale
    place = search.grid.index(fitted.inverse_l2)
    return DenseFit(
        weights=weights,
        offset=float(centre @ weights),
        rewards=fitted.rewards - fitted.rewards.mean(),
        prior=np.sqrt(fitted.inverse_l2) * each / scale,
        around=Search((profile,), search.grid[max(0, place - 1) : place + 2]),
        report={"inverse_l2": fitted.inverse_l2},
    )


def _turned(rows: Floats, centre: Floats, scale: Floats, each: Floats) -> tuple[Floats, Floats]:
    """The standardised features, so freely as each may speak, along their axes, and the axes.

    Features are most of what a fit takes in memory, so no step of this outlives it.
    """
    shaped = rows - centre
    shaped /= scale
    shaped *= each
    axes = principal_axes(shaped)
    return shaped @ axes, axes


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


def _strength(profile: Mapping[Feature, float], widths: Mapping[Feature, int]) -> tuple[float, ...]:
    return tuple(profile.get(name, 1.0) for name, width in widths.items() for _ in range(width))
