"""Whether predicted probabilities come true: calibration curves, their error, the Brier score."""

import numpy as np
from scipy.special import expit

from services.trainer.audit.held_out import Compared, Rated
from services.trainer.audit.intervals import Weighted, bootstrapped, share
from services.trainer.groups import Groups, numbered
from services.trainer.heads import Floats, Indices
from shared.contracts.audit import Calibrated, CalibrationAudit, CalibrationBin

FEWEST = 20

_BINS = 10
_DEALS = 400


def audit_calibration(
    compared: Compared, rated: Rated, *, good_rating: float, seed: int
) -> list[CalibrationAudit]:
    """Calibration of "good" on ratings and of choices on comparisons, where there are enough."""
    audits = []
    if len(rated) >= FEWEST:
        is_good = (rated.stars >= good_rating).astype(np.float64)
        audits.append(_audit("good", rated.scores.probability, is_good, rated.groups, seed=seed))
    if len(compared) >= FEWEST:
        sure = expit(np.abs(compared.margins))
        audits.append(_audit("pairs", sure, compared.hits, compared.groups, seed=seed))
    return audits


def _audit(
    of: Calibrated, predicted: Floats, observed: Floats, groups: Groups, *, seed: int
) -> CalibrationAudit:
    bins = equal_mass(predicted)
    brier = bootstrapped(_mean((predicted - observed) ** 2), groups, seed=seed)
    ece = bootstrapped(_error(observed - predicted, bins), groups, seed=seed)
    by_chance = _errors_by_chance(observed - predicted, bins, groups, seed=seed)
    return CalibrationAudit(
        of=of,
        rows=len(predicted),
        ece=ece,
        ece_if_calibrated=float(by_chance.mean()),
        p=float((1 + (by_chance >= ece.value).sum()) / (1 + len(by_chance))),
        brier=brier,
        brier_constant=float(observed.var()),
        bins=[
            CalibrationBin(
                rows=len(rows),
                predicted=float(predicted[rows].mean()),
                observed=share(observed[rows], [groups[int(at)] for at in rows]),
            )
            for rows in bins
        ],
    )


def equal_mass(predicted: Floats) -> list[Indices]:
    """Rows by rising prediction in up to ten bins of equal size, 20 rows each where it can be."""
    count = int(np.clip(len(predicted) // FEWEST, 2, _BINS))
    return np.array_split(np.argsort(predicted, kind="stable"), count)


def _error(gaps: Floats, bins: list[Indices]) -> Weighted:
    """Mean |observed - predicted| over bins.

    Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 3,
    with the bins of Nguyen & O'Connor 2015.
    """

    def error(weights: Floats) -> float:
        missed = [abs(float((weights[rows] * gaps[rows]).sum())) for rows in bins]
        return sum(missed) / float(weights.sum())

    return error


def _errors_by_chance(gaps: Floats, bins: list[Indices], groups: Groups, *, seed: int) -> Floats:
    """Errors when predictions come true on average: a coin turns the gaps of each whole group.

    Rows about one prompt come true together, so errors by chance are larger than those of rows
    dealt one by one.

    Source: Cameron, Gelbach & Miller 2008 (the wild cluster bootstrap, with Rademacher's weights).
    """
    member, draw = numbered(groups), np.random.default_rng(seed)
    whole = np.ones(len(gaps))
    signs = (draw.integers(2, size=int(member.max()) + 1) * 2 - 1 for _ in range(_DEALS))
    return np.array([_error(gaps * one[member], bins)(whole) for one in signs])


def _mean(values: Floats) -> Weighted:
    return lambda weights: float(np.average(values, weights=weights))
