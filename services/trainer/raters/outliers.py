"""How far each rater agrees with the others who judged the same, and who agrees far less.

A judgement's agreement is 1 - d / D: d is its mean squared difference from the other raters'
judgements of the same unit, D what it would be between any two judgements of that kind by chance
(the expected disagreement of Krippendorff's alpha). So 1 is full agreement, 0 chance, below 0 worse
than chance, on every scale; a rater's agreement is the mean over his judgements. Judgements of one
prompt vary together, so intervals and tests take a rater's prompts as what varies (the
cluster-robust variance of a mean, with Student's t for one degree of freedom a prompt but one).

Source: Liang & Zeger 1986, "Longitudinal data analysis using generalized linear models".
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from services.trainer.raters.judgements import LEVELS, Kind, Opinion
from shared.agreement.alpha import Level
from shared.agreement.judged import Judged, as_judged, number

Floats = NDArray[np.float64]

ALPHA = 0.01
CONFIDENCE = 0.95
FAR_BELOW = 0.2
FEWEST_JUDGEMENTS = 10
FEWEST_PROMPTS = 10

Score = tuple[bytes | str, float]  # of one judgement, with its prompt group


@dataclass(frozen=True)
class WithOthers:
    """A rater's agreement with the others.

    Attributes:
        judgements: how many of the rater's judgements others made as well.
        agreement: 1 for full agreement, 0 for chance.
        low: lower end of the 95 % interval; None where all were of a single prompt.
        high: its upper end.
        is_outlier: whether it lies `FAR_BELOW` the median rater's, beyond doubt.
    """

    judgements: int
    agreement: float
    low: float | None = None
    high: float | None = None
    is_outlier: bool = False


def agreement_with_others(
    said: Sequence[Opinion], *, alpha: float = ALPHA
) -> dict[str, WithOthers]:
    """Of every rater whose judgements others made as well.

    Args:
        said: opinions, oldest first.
        alpha: chance that anybody is called an outlier where all raters are alike (each rater's
            own test is at `alpha` over the number of raters, one-sided).
    """
    scores: dict[str, list[Score]] = defaultdict(list)
    for kind in LEVELS:
        for rater, score in _scores([one for one in said if one.kind == kind], kind):
            scores[rater].append(score)
    middle = _middle(scores.values())
    return {
        rater: _with_others(theirs, middle - FAR_BELOW, alpha / len(scores))
        for rater, theirs in scores.items()
    }


def _middle(scores: Collection[Sequence[Score]]) -> float:
    """Median agreement of raters with enough judgements; of all, when none has."""
    enough = [theirs for theirs in scores if len(theirs) >= FEWEST_JUDGEMENTS]
    means = [float(np.mean([score for _, score in theirs])) for theirs in enough or scores]
    return float(np.median(means)) if means else 0.0


def _with_others(scores: Sequence[Score], limit: float, alpha: float) -> WithOthers:
    values = np.array([score for _, score in scores])
    count, mean = len(values), float(values.mean())
    of_prompts = np.bincount(number(group for group, _ in scores), values - mean)
    prompts = len(of_prompts)
    if prompts < 2:
        return WithOthers(count, mean)
    error = float(np.sqrt((of_prompts**2).sum() * prompts / (prompts - 1))) / count
    half, margin = (
        float(student.ppf(level, prompts - 1)) * error
        for level in ((1 + CONFIDENCE) / 2, 1 - alpha)
    )
    is_outlier = prompts >= FEWEST_PROMPTS and mean + margin < limit
    return WithOthers(count, mean, mean - half, mean + half, is_outlier)


def _scores(said: Sequence[Opinion], kind: Kind) -> Iterator[tuple[str, Score]]:
    """Who agreed how far with the others, of each judgement that others made as well."""
    raters, groups = [one.rater for one in said], [one.group for one in said]
    units, values = [one.unit for one in said], [one.value for one in said]
    judged = as_judged(units, raters, values, groups).shared
    if not len(judged):
        return
    observed, expected = _differences(judged, LEVELS[kind])
    if expected == 0:
        return
    # `as_judged` numbers names in the order of their first mention
    rater_of, group_of = list(dict.fromkeys(raters)), list(dict.fromkeys(groups))
    agreement = (1 - observed / expected).tolist()
    for who, cluster, score in zip(judged.rater, judged.cluster, agreement, strict=True):
        yield rater_of[who], (group_of[cluster], score)


def _differences(judged: Judged, level: Level) -> tuple[Floats, float]:
    """Each judgement's mean squared difference from the others of its unit, and that by chance."""
    unit = np.unique(judged.unit, return_inverse=True)[1]
    sizes = np.bincount(unit)[unit].astype(np.float64)
    count = len(unit)
    values, code = np.unique(judged.value, return_inverse=True)
    totals = np.bincount(code).astype(np.float64)
    if level == "nominal":
        cells, cell = np.unique(unit * len(values) + code, return_inverse=True)
        alike = np.bincount(cell, minlength=len(cells))[cell]
        expected = (count**2 - (totals**2).sum()) / (count * (count - 1))
        return (sizes - alike) / (sizes - 1), float(expected)
    scale = values if level == "interval" else totals.cumsum() - totals / 2
    placed = (scale - scale.mean())[code]
    sums, squares = (np.bincount(unit, placed**power)[unit] for power in (1, 2))
    observed = (sizes * placed**2 - 2 * placed * sums + squares) / (sizes - 1)
    expected = 2 * (count * (placed**2).sum() - placed.sum() ** 2) / (count * (count - 1))
    return observed, float(expected)
