"""Comparisons and ratings as evidence rows over a list of distinct items."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.heads import STAR_CUTS, Evidence, Floats, Indices
from shared.ml.scorer import Pair


@dataclass(frozen=True)
class Items:
    """The n distinct (prompt, response) pairs of a training set and what is known of them.

    Attributes:
        pairs: the items.
        groups: prompt group of each, shape (n,).
        evidence: rows over the items.
        ratings: mean stars of the items that were rated, NaN elsewhere, shape (n,).
    """

    pairs: list[Pair]
    groups: Indices
    evidence: Evidence
    ratings: Floats


def collect_items(pairs: Sequence[PreferencePair], rated: Sequence[RatedResponse]) -> Items:
    """Items and evidence of a training set; a rating that made a comparison counts only there."""
    book = _Book()
    for pair in pairs:
        book.add_comparison(pair)
    compared = {row_id for pair in pairs if pair.source == "rating" for row_id in pair.row_ids}
    for one in rated:
        book.add_rating(one, is_evidence=one.row_id not in compared)
    return book.items()


@dataclass
class _Book:
    places: dict[Pair, int] = field(default_factory=dict)
    group_ids: dict[bytes | str, int] = field(default_factory=dict)
    item_groups: list[int] = field(default_factory=list)
    rows: list[tuple[int, int, int, bool, float]] = field(default_factory=list)
    stars: dict[int, list[float]] = field(default_factory=dict)

    def add_comparison(self, pair: PreferencePair) -> None:
        chosen, rejected = (self._place(side, pair.group) for side in pair.sides)
        self.rows.append((chosen, rejected, -1, True, pair.weight))

    def add_rating(self, rated: RatedResponse, *, is_evidence: bool) -> None:
        item = self._place(Pair(rated.prompt, rated.response), rated.group)
        self.stars.setdefault(item, []).append(rated.rating)
        if is_evidence:
            share = 1.0 / len(STAR_CUTS)
            self.rows += [
                (item, -1, at, bool(rated.rating > cut), share) for at, cut in enumerate(STAR_CUTS)
            ]

    def items(self) -> Items:
        groups = np.array(self.item_groups, dtype=np.int64)
        left, right, cut, is_above, weight = zip(*self.rows, strict=True)
        evidence = Evidence(
            left=np.array(left), right=np.array(right), cut=np.array(cut),
            is_above=np.array(is_above), weight=np.array(weight), group=groups[np.array(left)],
        )  # fmt: skip
        ratings = np.full(len(groups), np.nan)
        for item, stars in self.stars.items():
            ratings[item] = np.mean(stars)
        return Items(list(self.places), groups, evidence, ratings)

    def _place(self, item: Pair, group: bytes | str) -> int:
        if item not in self.places:
            self.places[item] = len(self.places)
            self.item_groups.append(self.group_ids.setdefault(group, len(self.group_ids)))
        return self.places[item]
