"""Whether predicted probabilities come true: calibration curves, their error, the Brier score."""

import numpy as np
from scipy.special import expit

from services.trainer.audit.held_out import Compared, Rated
from services.trainer.audit.intervals import Weighted, bootstrapped, share
from services.trainer.groups import Groups
from services.trainer.heads import Floats
from shared.contracts.audit import Calibrated, CalibrationAudit, CalibrationBin

FEWEST = 20

_BINS = 10
_DEALS = 200


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
    return CalibrationAudit(
        of=of,
        rows=len(predicted),
        ece=bootstrapped(_error(predicted, observed, bins), groups, seed=seed),
        ece_if_calibrated=_error_by_chance(predicted, bins, seed=seed),
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


def equal_mass(predicted: Floats) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Rows by rising prediction in up to ten bins of equal size, 20 rows each where it can be."""
    count = int(np.clip(len(predicted) // FEWEST, 2, _BINS))
    return np.array_split(np.argsort(predicted, kind="stable"), count)


def _error(
    predicted: Floats,
    observed: Floats,
    bins: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
) -> Weighted:
    """Mean |observed - predicted| over bins.

    Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, eq. 3,
    with the bins of Nguyen & O'Connor 2015.
    """
    gaps = observed - predicted

    def error(weights: Floats) -> float:
        missed = [abs(float((weights[rows] * gaps[rows]).sum())) for rows in bins]
        return sum(missed) / float(weights.sum())

    return error


def _error_by_chance(
    predicted: Floats, bins: list[np.ndarray[tuple[int], np.dtype[np.int64]]], *, seed: int
) -> float:
    """Mean error when every row comes true with exactly its predicted probability."""
    draw, whole = np.random.default_rng(seed), np.ones(len(predicted))
    dealt = ((draw.random(len(predicted)) < predicted).astype(np.float64) for _ in range(_DEALS))
    return float(np.mean([_error(predicted, came, bins)(whole) for came in dealt]))


def _mean(values: Floats) -> Weighted:
    return lambda weights: float(np.average(values, weights=weights))
