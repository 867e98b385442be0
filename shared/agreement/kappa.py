"""Cohen's kappa of every two raters who judged the same units.

kappa = 1 - sum(w O) / sum(w E): O is how often the two gave each pair of values, E what their own
frequencies would give by chance, and w the disagreement: 0 or 1, the distance of the values
(linear) or its square (quadratic).

Source: Cohen 1968, "Weighted kappa".
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from shared.agreement.judged import Floats, Indices, Judged

Weighting = Literal["none", "linear", "quadratic"]

# of more raters of one unit, every two would be too many: so many of them are compared
MOST_RATERS = 100

_CELLS_AT_ONCE = 4_000_000
_ROUNDING = 1e-12  # what is this small beside the sums it is a difference of is nothing


@dataclass(frozen=True)
class Kappas:
    """g pairs of raters.

    Attributes:
        first: the one rater, shape (g,).
        second: the other, shape (g,).
        units: how many units both judged, shape (g,).
        kappa: 1 for perfect agreement, 0 for chance, shape (g,); NaN where both always said one
            and the same thing.
    """

    first: Indices
    second: Indices
    units: Indices
    kappa: Floats

    @property
    def mean(self) -> float | None:
        """Mean kappa, each pair counting by its units; None when there is no pair."""
        known = np.isfinite(self.kappa)
        if not known.any():
            return None
        return float(np.average(self.kappa[known], weights=self.units[known]))


def pairwise_kappas(judged: Judged, weighting: Weighting, *, least_units: int = 2) -> Kappas:
    """Kappa of every two raters with at least `least_units` units in common."""
    one, other = _both(judged, least_units)
    key = np.stack([judged.rater[one], judged.rater[other]])
    pairs, place, units = np.unique(key, axis=1, return_inverse=True, return_counts=True)
    left, right = judged.value[one], judged.value[other]
    observed = np.bincount(place, _disagreement(left - right, weighting), len(units)) / units
    by_chance = _squares_by_chance if weighting == "quadratic" else _tables_by_chance
    expected = by_chance(place, left, right, units, weighting)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(expected > 0, 1.0 - observed / expected, np.nan)
    return Kappas(pairs[0], pairs[1], units, kappa)


def _both(judged: Judged, least_units: int) -> tuple[Indices, Indices]:
    """Every two judgements of one unit, the lower rater's first, of pairs with enough units."""
    order = np.lexsort((judged.rater, judged.unit))
    unit = judged.unit[order]
    place = np.arange(len(unit)) - np.searchsorted(unit, unit)
    order, unit = order[place < MOST_RATERS], unit[place < MOST_RATERS]
    ones, others = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for step in range(1, len(unit)):
        alike = np.flatnonzero(unit[:-step] == unit[step:])
        if not len(alike):
            break
        ones.append(order[alike])
        others.append(order[alike + step])
    one, other = np.concatenate(ones), np.concatenate(others)
    key = judged.rater[one] * (int(judged.rater.max(initial=0)) + 1) + judged.rater[other]
    _, at, units = np.unique(key, return_inverse=True, return_counts=True)
    enough = units[at] >= least_units
    return one[enough], other[enough]


def _disagreement(difference: Floats, weighting: Weighting) -> Floats:
    if weighting == "none":
        return np.asarray(difference != 0, dtype=np.float64)
    return np.abs(difference) if weighting == "linear" else np.asarray(difference**2)


def _squares_by_chance(
    place: Indices, left: Floats, right: Floats, units: Indices, _: Weighting
) -> Floats:
    """Mean squared difference of independent values with each rater's frequencies, shape (g,)."""
    means, squares = (
        [np.bincount(place, side**power, len(units)) / units for side in (left, right)]
        for power in (1, 2)
    )
    whole = squares[0] + squares[1]
    expected = whole - 2 * means[0] * means[1]
    return np.asarray(np.where(expected > _ROUNDING * whole, expected, 0.0))


def _tables_by_chance(
    place: Indices, left: Floats, right: Floats, units: Indices, weighting: Weighting
) -> Floats:
    """Mean disagreement by chance from each rater's table of frequencies, for few values."""
    values, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    order = np.argsort(place, kind="stable")
    place, sides = place[order], (codes[: len(left)][order], codes[len(left) :][order])
    size = max(1, _CELLS_AT_ONCE // max(len(values), 1))
    expected = np.empty(len(units))
    for start in range(0, len(units), size):
        shape = (min(size, len(units) - start), len(values))
        rows = slice(*np.searchsorted(place, [start, start + size]))
        left, right = (_shares(place[rows] - start, side[rows], shape) for side in sides)
        expected[start : start + size] = _by_chance(left, right, values, weighting)
    return expected


def _shares(pair: Indices, code: Indices, shape: tuple[int, int]) -> Floats:
    """How often each pair's one rater gave each value, rows that sum to 1."""
    counts = np.bincount(pair * shape[1] + code, minlength=shape[0] * shape[1]).reshape(shape)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _by_chance(left: Floats, right: Floats, values: Floats, weighting: Weighting) -> Floats:
    if weighting == "none":
        return np.asarray(1.0 - (left * right).sum(axis=1))
    below, under = left.cumsum(axis=1)[:, :-1], right.cumsum(axis=1)[:, :-1]
    return np.asarray((below * (1 - under) + under * (1 - below)) @ np.diff(values))
