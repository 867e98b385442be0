"""Estimates with 95 % intervals that treat the rows of one prompt group as one.

Legend: n rows in G groups; every array has shape (n,).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from services.trainer.groups import Groups, numbered
from services.trainer.heads import Floats, Indices
from shared.contracts.audit import Estimate

Weighted = Callable[[Floats], float]

RESAMPLES = 400
_TAIL = 0.975


def share(hits: Floats, groups: Groups) -> Estimate:
    """Mean of values between 0 and 1, with Wilson's interval at the effective number of rows.

    The effective number is that of independent rows whose mean varies as much as the grouped
    mean; it is at most n, and G where nothing varies, so that 10 hits of 10 are no certainty.

    Sources: Wilson 1927; Kish 1965, "Survey sampling" (the design effect).
    """
    mean, member = float(hits.mean()), numbered(groups)
    count = int(member.max()) + 1
    if count < 2:
        return Estimate(value=mean, low=0.0, high=1.0)
    sums = np.bincount(member, weights=hits - mean)
    variance = count / (count - 1) * float((sums**2).sum()) / len(hits) ** 2
    spread = mean * (1 - mean)
    rows = min(len(hits), spread / variance) if variance > 0 and spread > 0 else count
    z2 = float(stdtrit(count - 1, _TAIL)) ** 2
    centre = (mean + z2 / (2 * rows)) / (1 + z2 / rows)
    half = np.sqrt(z2 * spread / rows + z2**2 / (4 * rows**2)) / (1 + z2 / rows)
    low, high = max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
    return Estimate(value=mean, low=low, high=high)


def mean_difference(gains: Floats, groups: Groups) -> Estimate:
    """Mean of paired differences between -1 and 1, with the cluster-robust t interval.

    Two imaginary rows, one of 1 and one of -1, widen it as at the gate: without them two models
    that agree on ten rows would be known to be equal.
    """
    mean, member = float(gains.mean()), numbered(groups)
    pulls = _summed((gains - mean) / len(gains), member)
    imaginary = np.array([1.0, -1.0]) / len(gains)
    return _with_error(mean, np.append(pulls, imaginary), freedom=len(pulls) - 1)[0]


def difference(values: Floats, is_in: NDArray[np.bool_], groups: Groups) -> tuple[Estimate, float]:
    """Mean of values from 0 to 1 inside minus outside, and the two-sided p of no difference.

    A cluster-robust t-test with as many degrees of freedom as the side with fewer groups allows.

    Source: Liang & Zeger 1986, "Longitudinal data analysis using generalized linear models".
    """
    member = numbered(groups)
    inside, outside = float(values[is_in].mean()), float(values[~is_in].mean())
    pull = np.where(is_in, (values - inside) / is_in.sum(), (outside - values) / (~is_in).sum())
    freedom = min(len(np.unique(member[is_in])), len(np.unique(member[~is_in]))) - 1
    return _with_error(inside - outside, _summed(pull, member), freedom=freedom)


def _summed(values: Floats, member: Indices) -> Floats:
    return np.bincount(member, weights=values).astype(np.float64)


def _with_error(value: float, pulls: Floats, *, freedom: int) -> tuple[Estimate, float]:
    """An estimate from what each group pulls it by, and the two-sided p of 0."""
    if freedom < 1:
        return Estimate(value=value, low=-1.0, high=1.0), 1.0
    error = float(np.sqrt(len(pulls) / (len(pulls) - 1) * (pulls**2).sum()))
    if error == 0:
        return Estimate(value=value, low=value, high=value), float(value == 0)
    half = float(stdtrit(freedom, _TAIL)) * error
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Estimate(value=value, low=max(-1.0, value - half), high=min(1.0, value + half)), p


def resampled(groups: Groups, *, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each row counts in each bootstrap sample of whole groups."""
    member = numbered(groups)
    count = int(member.max()) + 1
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = generator.integers(count, size=count)
        yield np.bincount(drawn, minlength=count)[member].astype(np.float64)


def bootstrapped(statistic: Weighted, groups: Groups, *, seed: int) -> Estimate:
    """A weighted statistic with its percentile interval over samples of whole groups.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (the cluster bootstrap).
    """
    whole = statistic(np.ones(len(groups)))
    drawn = [statistic(weights) for weights in resampled(groups, seed=seed)]
    low, high = np.nanquantile(drawn, [1 - _TAIL, _TAIL])
    return Estimate(value=whole, low=float(low), high=float(high))


def correlation(left: Floats, right: Floats, weights: Floats) -> float:
    """Weighted Pearson correlation, -1 to 1; NaN where either is constant."""
    left = left - np.average(left, weights=weights)
    right = right - np.average(right, weights=weights)
    spread = float(np.sqrt((weights * left**2).sum() * (weights * right**2).sum()))
    return float((weights * left * right).sum() / spread) if spread > 0 else float("nan")


def correlated(left: Floats, right: Floats, groups: Groups, *, seed: int) -> Estimate | None:
    """Pearson correlation with its interval; None of constants, or of fewer than three groups."""
    if len(set(groups)) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return bootstrapped(lambda weights: correlation(left, right, weights), groups, seed=seed)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted so that all of them together are wrong as rarely as one.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [float(p) for p in adjusted]
