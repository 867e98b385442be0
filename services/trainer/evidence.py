"""What people said, as evidence over a list of distinct items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from services.trainer.examples import (
    Judgement,
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    RewardDataset,
    TiedPair,
)
from services.trainer.heads import Floats, Indices
from services.trainer.likelihood.evidence import Evidence, Standard
from services.trainer.likelihood.ledger import Ledger
from services.trainer.likelihood.terms import level_of
from shared.errors import NotEnoughData
from shared.ml.scorer import Pair

RatingsAs = Literal["levels", "pairs"]
# Posts say numbers of aspects without their scale: the first of these that holds all of a name's.
_ASPECT_SCALES = ((0.0, 1.0), (1.0, 5.0), (0.0, 5.0))


@dataclass(frozen=True)
class SourceWeights:
    """How much each kind of feedback counts; 0 leaves it out altogether."""

    preference: float = 1.0
    correction: float = 1.0
    rating: float = 1.0
    tie: float = 1.0
    ranking: float = 1.0

    def of(self, pair: PreferencePair) -> float:
        """How much a comparison counts by where it comes from."""
        return float(getattr(self, pair.source))


def switched_on(dataset: RewardDataset, weights: SourceWeights) -> RewardDataset:
    """A dataset whose train side is without the sources that weigh nothing."""
    return replace(
        dataset,
        train_pairs=[pair for pair in dataset.train_pairs if weights.of(pair) > 0],
        train_rated=dataset.train_rated if weights.rating > 0 else (),
        train_ties=dataset.train_ties if weights.tie > 0 else (),
        train_rankings=dataset.train_rankings if weights.ranking > 0 else (),
        train_aspects=dataset.train_aspects if weights.rating > 0 else (),
    )


@dataclass(frozen=True)
class Items:
    """The n distinct (prompt, response) pairs of a training set and what is known of them.

    Attributes:
        pairs: the items.
        groups: prompt group of each, shape (n,).
        evidence: judgements of the items.
        ratings: mean stars of the items that were rated, NaN elsewhere, shape (n,).
        overall: how many of the items, the first ones, are judged as a whole; the others are
            rated by aspect alone.
        aspects: by name what people rated beside, 0-1, as evidence of how often they would say
            "the best" rather than "the worst".
    """

    pairs: list[Pair]
    groups: Indices
    evidence: Evidence
    ratings: Floats
    overall: int
    aspects: Mapping[str, Evidence] = field(default_factory=dict)


def collect_items(
    pairs: Sequence[PreferencePair],
    rated: Sequence[RatedResponse],
    ties: Sequence[TiedPair] = (),
    rankings: Sequence[RankedResponses] = (),
    *,
    aspects: Sequence[RatedAspects] = (),
    weights: SourceWeights | None = None,
    rater_weights: Mapping[str, float] | None = None,
    ratings_as: RatingsAs = "pairs",
) -> Items:
    """Items and evidence of a training set, in which nothing that was said counts twice.

    A pair derived from a ranking that is here is left out. Of ratings and the pairs derived from
    them, `levels` takes the ratings, and `pairs` the pairs and those ratings that made none.

    Args:
        pairs: comparisons, from choices and corrections and derived from ratings and rankings.
        rated: rated responses.
        ties: pairs of which neither was preferred.
        rankings: orders of several responses.
        aspects: responses that were rated by aspect alone; they count as ratings do.
        weights: of the sources.
        rater_weights: of the raters, in (0, 1]; 1 for who is not named.
        ratings_as: what ratings are that were also made into pairs.

    Raises:
        NotEnoughData: nothing is left to learn from.
    """
    book = _Book(weights or SourceWeights(), rater_weights or {}, aspect_scales([*rated, *aspects]))
    is_level = ratings_as == "levels"
    said = {one.row_id for one in rankings} | {one.row_id for one in rated if is_level}
    used = [pair for pair in pairs if not (_is_derived(pair) and said.issuperset(pair.row_ids))]
    compared = {row for pair in used if pair.source == "rating" for row in pair.row_ids}
    for pair in used:
        book.add_pair(pair, can_tie=bool(ties))
    for tie in ties:
        book.add_tie(tie)
    for one in rated:
        book.add_rating(one, is_evidence=is_level or one.row_id not in compared)
    for ranked in rankings:
        book.add_ranking(ranked)
    overall = len(book)
    for by_aspect in aspects:
        book.add_aspects(by_aspect)
    return book.items(overall)


def aspect_scales(rated: Sequence[RatedResponse | RatedAspects]) -> dict[str, tuple[float, float]]:
    """By name the worst and the best that an aspect can get: 0 and 1, 1 and 5, or 0 and 5.

    One number alone would not tell: 1 is the best of 0 to 1 and the worst of 1 to 5.
    """
    given: dict[str, list[float]] = {}
    for one in rated:
        for name, value in one.aspects.items():
            given.setdefault(name, []).append(value)
    return {name: _scale_of(min(values), max(values)) for name, values in given.items()}


def _scale_of(least: float, most: float) -> tuple[float, float]:
    holding = (scale for scale in _ASPECT_SCALES if scale[0] <= least and most <= scale[1])
    return next(holding, _ASPECT_SCALES[-1])


def _is_derived(pair: PreferencePair) -> bool:
    return pair.source in ("rating", "ranking")


class _Book:
    """Items by their text, and what was said of them."""

    def __init__(
        self,
        weights: SourceWeights,
        rater_weights: Mapping[str, float],
        scales: Mapping[str, tuple[float, float]],
    ) -> None:
        self._weights, self._trust, self._scales = weights, rater_weights, scales
        self._places: dict[Pair, int] = {}
        self._group_ids: dict[bytes | str, int] = {}
        self._item_groups: list[int] = []
        self._ledger = Ledger()
        self._aspects: dict[str, Ledger] = {}
        self._stars: dict[int, list[tuple[float, float]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add_pair(self, pair: PreferencePair, *, can_tie: bool) -> None:
        if weight := pair.weight * self._weights.of(pair) * self._trusted(pair):
            chosen, rejected = (self._place(side, pair.group) for side in pair.sides)
            may_tie = can_tie and pair.source == "preference" and self._weights.tie > 0
            self._ledger.compared.append((chosen, rejected, False, may_tie, weight))

    def add_tie(self, tie: TiedPair) -> None:
        if weight := self._weights.tie * self._trusted(tie):
            one, other = (self._place(Pair(tie.prompt, text), tie.group) for text in tie.responses)
            self._ledger.compared.append((one, other, True, True, weight))

    def add_ranking(self, ranked: RankedResponses) -> None:
        if weight := self._weights.ranking * self._trusted(ranked):
            places = [
                self._place(Pair(ranked.prompt, text), ranked.group) for text in ranked.responses
            ]
            self._ledger.ranked.append((places, weight))

    def add_rating(self, rated: RatedResponse, *, is_evidence: bool) -> None:
        weight = self._weights.rating * self._trusted(rated)
        if not weight:
            return
        item = self._place(Pair(rated.prompt, rated.response), rated.group)
        self._stars.setdefault(item, []).append((rated.rating, weight))
        if is_evidence:
            level = level_of(rated.rating, rated.scale)
            self._ledger.rate(item, level, Standard(rated.scale, rated.rater), weight)
        self._rate_aspects(item, rated, weight)

    def add_aspects(self, rated: RatedAspects) -> None:
        if weight := self._weights.rating * self._trusted(rated):
            item = self._place(Pair(rated.prompt, rated.response), rated.group)
            self._rate_aspects(item, rated, weight)

    def items(self, overall: int) -> Items:
        if not overall:
            raise NotEnoughData(
                "There is nothing to learn from: every kind of feedback in the dataset is switched "
                "off, or none was given."
            )
        groups = np.array(self._item_groups, dtype=np.int64)
        ratings = np.full(len(groups), np.nan)
        for item, stars in self._stars.items():
            values, weights = zip(*stars, strict=True)
            ratings[item] = np.average(values, weights=weights)
        evidence = self._ledger.evidence(groups)
        aspects = {name: ledger.evidence(groups) for name, ledger in sorted(self._aspects.items())}
        return Items(list(self._places), groups, evidence, ratings, overall, aspects)

    def _rate_aspects(self, item: int, rated: RatedResponse | RatedAspects, weight: float) -> None:
        """Each number from 0 to 1 as that share of a thumb up and the rest of a thumb down."""
        for name, given in rated.aspects.items():
            worst, best = self._scales[name]
            value = float(np.clip((given - worst) / (best - worst), 0.0, 1.0))
            ledger = self._aspects.setdefault(name, Ledger())
            for level, share in ((1, value), (0, 1.0 - value)):
                if share > 0:
                    ledger.rate(item, level, Standard("thumbs", rated.rater), weight * share)

    def _trusted(self, said: Judgement) -> float:
        return 1.0 if said.rater is None else self._trust.get(said.rater, 1.0)

    def _place(self, item: Pair, group: bytes | str) -> int:
        if item not in self._places:
            self._places[item] = len(self._places)
            self._item_groups.append(self._group_ids.setdefault(group, len(self._group_ids)))
        return self._places[item]
