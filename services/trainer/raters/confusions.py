"""What each rater says where the truth is something else, by what others said of the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from services.trainer.raters.dawid_skene import fit_confusions
from services.trainer.raters.judgements import Opinion
from shared.agreement.judged import Floats, Judged, as_judged

Category = Literal["stars", "thumbs"]


@dataclass(frozen=True)
class RaterConfusions:
    """One rater.

    Attributes:
        rater: the pseudonym.
        judgements: how many others made as well.
        informedness: how much better than chance the rater tells categories apart: 1 never wrong,
            0 says nothing, below 0 prefers the wrong.
        says: by category, were it the truth, how often the rater says each; 0-1, rows that sum
            to 1. Categories that nobody ever said are left out.
    """

    rater: str
    judgements: int
    informedness: float
    says: dict[str, dict[str, float]]


def confusions_of(said: Sequence[Opinion], kind: Category) -> list[RaterConfusions]:
    """Every rater who judged what others did, busiest first; nobody where all said the same.

    Args:
        said: opinions, oldest first.
        kind: which of them to look at.
    """
    alike = [one for one in said if one.kind == kind]
    raters = [one.rater for one in alike]
    judged = as_judged([one.unit for one in alike], raters, [one.value for one in alike]).shared
    (_, unit), (numbers, rater), (values, value) = (
        np.unique(column, return_inverse=True)
        for column in (judged.unit, judged.rater, judged.value)
    )
    if len(values) < 2:
        return []
    found = fit_confusions(Judged(unit, rater, value.astype(np.float64), unit))
    names = list(dict.fromkeys(raters))  # which `as_judged` numbers in this order
    said_as = [_category(kind, one) for one in values.tolist()]
    lines = [
        RaterConfusions(names[number], count, informedness, _named(said_as, confusion))
        for number, count, informedness, confusion in zip(
            numbers, np.bincount(rater).tolist(), found.informedness.tolist(), found.confusion,
            strict=True,
        )
    ]  # fmt: skip
    return sorted(lines, key=lambda line: -line.judgements)


def _named(categories: Sequence[str], confusion: Floats) -> dict[str, dict[str, float]]:
    return {
        true: dict(zip(categories, row, strict=True))
        for true, row in zip(categories, confusion.tolist(), strict=True)
    }


def _category(kind: Category, stars: float) -> str:
    """Which thumb, or how many stars."""
    return f"{stars:g}" if kind == "stars" else "up" if stars > 3 else "down"
