"""The gate for parts of the held-out pairs: a model must not pay for its gain with one group.

A slice is one value of what posts are reported under, such as `task=triage`. It fails when it is
surely worse than the live model, or surely below the demanded accuracy, at 5 % for all slices
together (Holm 1979); a slice that only looks bad by chance does not fail.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.stats import binom

from services.trainer.audit.intervals import holm
from services.trainer.examples import PreferencePair
from services.trainer.gates import LEVEL, bootstrap_means, exact_p
from services.trainer.groups import group_sums
from services.trainer.heads import Floats, Indices
from services.trainer.reward_metrics import hits
from shared.db.columns import Json


@dataclass(frozen=True)
class SliceResult:
    """A candidate on the held-out pairs of one slice.

    Attributes:
        name: what the slice is, as `task=triage`.
        pairs, groups: held-out pairs, and the prompt groups they belong to.
        accuracy: share of pairs it gets right, a tie counting half.
        low, high: bounds of the accuracy, each one-sided at 95 %.
        opponent_accuracy: the live model's on the same pairs; None without one.
        p_worse: p-value of "not worse than the live model", corrected for all slices.
        p_below: p-value of "reaches the demanded accuracy", corrected for all slices.
    """

    name: str
    pairs: int
    groups: int
    accuracy: float
    low: float
    high: float
    opponent_accuracy: float | None = None
    p_worse: float | None = None
    p_below: float | None = None

    def failures(self, floor: float | None) -> list[str]:
        """A sentence for each demand that the slice surely does not meet."""
        found = []
        if self.p_worse is not None and self.p_worse < LEVEL:
            found.append(
                f"{self.name} is worse than the live model: {self.accuracy:.3f} against "
                f"{self.opponent_accuracy:.3f} on {self.pairs} held-out pairs"
            )
        if self.p_below is not None and self.p_below < LEVEL:
            found.append(
                f"{self.name} has accuracy {self.accuracy:.3f} on {self.pairs} held-out pairs, "
                f"the gate is {floor:g}"
            )
        return found

    def to_json(self) -> Json:
        """As it is stored in the gate's report."""
        return asdict(self)


def judge_slices(
    margins: Floats,
    champion_margins: Floats | None,
    pairs: Sequence[PreferencePair],
    *,
    fewest: int,
    floor: float | None,
) -> list[SliceResult]:
    """Every slice with enough held-out pairs, sorted by name.

    One that is all of them has only the floor to reach: against the live model it is no slice.

    Args:
        margins: raw reward of chosen minus rejected by the candidate, shape (pairs,).
        champion_margins: the same by the live model; None without one.
        pairs: the held-out pairs.
        fewest: pairs that a slice needs to be judged.
        floor: accuracy that every slice is to reach, 0–1; None: not demanded.
    """
    right = hits(margins)
    gain = None if champion_margins is None else right - hits(champion_margins)
    found = [
        _judged(name, rows, right, gain if is_part else None, pairs=pairs, floor=floor)
        for name, rows in sorted(slices_of(pairs).items())
        if len(rows) >= fewest and ((is_part := len(rows) < len(pairs)) or floor is not None)
    ]
    return _corrected(found)


def slices_of(pairs: Sequence[PreferencePair]) -> Mapping[str, Indices]:
    """The places of the pairs in each slice."""
    places: dict[str, list[int]] = defaultdict(list)
    for at, pair in enumerate(pairs):
        for name, value in pair.slices.items():
            places[f"{name}={value}"].append(at)
    return {name: np.array(rows, dtype=np.int64) for name, rows in places.items()}


def below_p(right: Floats, groups: Sequence[bytes | str], floor: float) -> float:
    """P-value of "the accuracy is at least the floor": binomial where every group is one pair.

    Half a hit, of an odd number of ties, counts as a whole one there, so that it fails nobody.

    Args:
        right: 1 where the model is right, 0.5 at a tie, else 0; shape (pairs,).
        groups: prompt group of each pair, length pairs.
        floor: accuracy, 0–1.
    """
    counts = group_sums(right, groups)[1]
    if counts.max() == 1:
        return float(binom.cdf(np.ceil(right.sum()), len(right), floor))
    return float((_means(right, groups) >= floor).mean())


def _judged(
    name: str,
    rows: Indices,
    right: Floats,
    gain: Floats | None,
    *,
    pairs: Sequence[PreferencePair],
    floor: float | None,
) -> SliceResult:
    groups = [pairs[row].group for row in rows]
    low, high = np.quantile(_means(right[rows], groups), [LEVEL, 1 - LEVEL])
    accuracy = float(right[rows].mean())
    result = SliceResult(
        name=name,
        pairs=len(rows),
        groups=len(set(groups)),
        accuracy=accuracy,
        low=float(low),
        high=float(high),
        p_below=None if floor is None else below_p(right[rows], groups, floor),
    )
    if gain is None:
        return result
    lost = float(gain[rows].mean())
    return replace(result, opponent_accuracy=accuracy - lost, p_worse=exact_p(-gain[rows], groups))


def _means(right: Floats, groups: Sequence[bytes | str]) -> Floats:
    """Resampled accuracies, an imaginary hit and a miss among the pairs."""
    return (bootstrap_means(2 * right - 1, groups) + 1) / 2


def _corrected(found: Sequence[SliceResult]) -> list[SliceResult]:
    worse = _holm_of([one.p_worse for one in found])
    below = _holm_of([one.p_below for one in found])
    return [
        replace(one, p_worse=p_worse, p_below=p_below)
        for one, p_worse, p_below in zip(found, worse, below, strict=True)
    ]


def _holm_of(p_values: Sequence[float | None]) -> Sequence[float | None]:
    """Those that were asked for, corrected for one another."""
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(corrected) for p in p_values]
