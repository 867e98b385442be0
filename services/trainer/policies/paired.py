"""Means and differences over the same n prompts; every array has shape (n,)."""

import numpy as np
from scipy.stats import t as student

from services.trainer.heads import Floats
from shared.contracts.policy_report import Change, Mean

INTERVAL = 0.95


def mean_of(values: Floats) -> Mean:
    """The mean and its standard error, 0 of a single value."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    return Mean(value=float(values.mean()), error=error)


def change_of(before: Floats, after: Floats) -> Change:
    """The mean of after minus before with its paired t interval.

    Source: Student 1908, "The probable error of a mean".
    """
    found = mean_of(after - before)
    return change_with(found.value, found.error, len(before))


def change_with(value: float, error: float, count: int, *, level: float = INTERVAL) -> Change:
    """A difference of known standard error over n prompts, with the interval of this level.

    An error of 0 is that of responses that all changed alike.
    """
    if error == 0 or count < 2:
        return Change(value=value, low=value, high=value, p=float(value == 0 or count < 2))
    half = float(student.ppf((1 + level) / 2, count - 1)) * error
    p = 2 * float(student.sf(abs(value) / error, count - 1))
    return Change(value=value, low=value - half, high=value + half, p=p)


def rises(change: Change, level: float) -> bool:
    """Whether it is above 0, one-sided at this level."""
    return change.value > 0 and change.p / 2 < level


def falls(change: Change, level: float) -> bool:
    """Whether it is below 0, one-sided at this level."""
    return change.value < 0 and change.p / 2 < level


def jackknife_error(without_each: Floats) -> float:
    """Standard error of what is no mean, from its values without each prompt in turn.

    Source: Tukey 1958; Efron & Stein 1981, "The jackknife estimate of variance".
    """
    count = len(without_each)
    squares = float(((without_each - without_each.mean()) ** 2).sum())
    return float(np.sqrt((count - 1) / count * squares))
