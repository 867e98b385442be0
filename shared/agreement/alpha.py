"""Krippendorff's alpha and percent agreement, with bootstrap intervals over units.

Legend: u units judged at least twice, v distinct values, b resamples; unit i has m_i judgements,
n_ic of them of value c; n judgements in all.

alpha = 1 - D_o / D_e. Observed: D_o = 1/n · sum over units of 1/(m_i - 1) · sum over ordered pairs
of its judgements of delta². Expected: the same over all n (n - 1) ordered pairs. delta² is 0 or 1
for nominal values, the squared difference for interval ones, and for ordinal ones the squared
difference of mid-ranks (which is what Krippendorff's sum of frequencies between two values comes
to). Sums of squared differences need only sums and sums of squares, so no pair is ever listed.

Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; Krippendorff 2004, ch. 11.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix

from shared.agreement.judged import Floats, Indices, Judged

Level = Literal["nominal", "ordinal", "interval"]

RESAMPLES = 1000
CONFIDENCE = 0.95
# the percentiles of fewer resampled clusters say little
FEWEST_CLUSTERS = 10

_CELLS_AT_ONCE = 4_000_000
_ROUNDING = 1e-12  # what is this small beside the sums it is a difference of is nothing


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; no interval where there is too little to resample."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the units that at least two of them judged.

    Attributes:
        alpha: Krippendorff's alpha, 1 for perfect agreement, 0 for chance, down to below -1; None
            when nothing was judged twice, or all judgements are the same.
        percent: chance that another rater of the same unit says the same, 0-1.
    """

    units: int
    judgements: int
    raters: int
    alpha: Estimate | None
    percent: Estimate | None


def measure_agreement(
    judged: Judged, level: Level, *, resamples: int = RESAMPLES, seed: int = 0
) -> Agreement:
    """Alpha and percent agreement with 95 % percentile intervals; clusters are resampled."""
    shared = judged.shared
    if not len(shared):
        return Agreement(0, 0, 0, None, None)
    table = _Table(shared, level)
    alpha, percent = table.coefficients(np.ones((table.units, 1)))
    drawn = [table.coefficients(times) for times in table.resampled(resamples, seed)]
    alphas, percents = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return Agreement(
        units=table.units,
        judgements=len(shared),
        raters=len(np.unique(shared.rater)),
        alpha=_estimate(alpha[0], alphas),
        percent=_estimate(percent[0], percents),
    )


class _Table:
    """Counts of each value on each unit, shape (u, v), sparse."""

    def __init__(self, judged: Judged, level: Level) -> None:
        names, unit = np.unique(judged.unit, return_inverse=True)
        self.values, value = np.unique(judged.value, return_inverse=True)
        self.units, self.level = len(names), level
        shape = (self.units, len(self.values))
        self.counts: Any = csr_matrix((np.ones(len(unit)), (unit, value)), shape=shape)
        self.sizes: Floats = np.bincount(unit).astype(np.float64)
        cluster = np.zeros(self.units, dtype=np.int64)
        cluster[unit] = judged.cluster
        self.clusters: Indices = np.unique(cluster, return_inverse=True)[1]
        squares = np.asarray(self.counts.multiply(self.counts).sum(axis=1)).ravel()
        self.differing: Floats = (self.sizes**2 - squares) / (self.sizes - 1)

    def resampled(self, resamples: int, seed: int) -> Iterator[Floats]:
        """How often each unit is drawn, portions of shape (u, some of b)."""
        rng = np.random.default_rng(seed)
        count = int(self.clusters.max()) + 1
        portion = max(1, _CELLS_AT_ONCE // self.units)
        for start in range(0, resamples if count >= FEWEST_CLUSTERS else 0, portion):
            size = min(portion, resamples - start)
            drawn = rng.integers(count, size=(size, count))
            drawn += np.arange(size)[:, None] * count
            times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
            yield times.T[self.clusters].astype(np.float64)
        if count < FEWEST_CLUSTERS:
            yield np.empty((self.units, 0))

    def coefficients(self, times: Floats) -> tuple[Floats, Floats]:
        """Alpha and percent agreement, shape (b,), of units that count `times`, shape (u, b)."""
        judgements = self.sizes @ times
        differing = self.differing @ times
        if self.level == "nominal":
            totals = self.counts.T @ times
            observed, expected = differing, judgements**2 - (totals**2).sum(axis=0)
        elif self.level == "interval":
            observed, expected = self._squared_distances(times, judgements)
        else:
            observed, expected = self._squared_ranks(times, judgements)
        with np.errstate(invalid="ignore", divide="ignore"):
            alpha = 1.0 - (judgements - 1) * observed / expected
            percent = 1.0 - differing / judgements
        return np.where(expected > 0, alpha, np.nan), percent

    def _squared_distances(self, times: Floats, judgements: Floats) -> tuple[Floats, Floats]:
        centred = self.values - self.values.mean()
        sums, squares = self.counts @ centred, self.counts @ centred**2
        spread = 2 * (self.sizes * squares - sums**2) / (self.sizes - 1)
        whole, part = judgements * (squares @ times), (sums @ times) ** 2
        return spread @ times, np.where(whole - part > _ROUNDING * whole, 2 * (whole - part), 0.0)

    def _squared_ranks(self, times: Floats, judgements: Floats) -> tuple[Floats, Floats]:
        """As of distances, of mid-ranks, which every resample has its own of."""
        totals = self.counts.T @ times
        ranks = np.cumsum(totals, axis=0) - totals / 2 - judgements / 2
        sums, squares = self.counts @ ranks, self.counts @ ranks**2
        spread = 2 * (self.sizes[:, None] * squares - sums**2) / (self.sizes - 1)[:, None]
        expected = 2 * judgements * (totals * ranks**2).sum(axis=0)
        return (spread * times).sum(axis=0), expected - 2 * (totals * ranks).sum(axis=0) ** 2


def _estimate(value: float, drawn: Floats) -> Estimate | None:
    if not np.isfinite(value):
        return None
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(float(value))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(value), float(low), float(high))
