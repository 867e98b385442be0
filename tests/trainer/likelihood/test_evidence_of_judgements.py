"""What becomes evidence, and that nothing counts twice."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.evidence import Items, SourceWeights, collect_items
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    TiedPair,
)
from services.trainer.likelihood.evidence import Standard
from shared.errors import NotEnoughData

CHOICE = PreferencePair("p", "a", "b", "g", weight=2.0, row_ids=("choice",), rater="ann")
CORRECTION = PreferencePair("p", "c", "b", "g", source="correction", row_ids=("corrected",))
BETTER = RatedResponse("q", "a", 5, "h", "better", rater="ann")
WORSE = RatedResponse("q", "b", 2, "h", "worse", rater="ann")
BY_RATING = PreferencePair("q", "a", "b", "h", source="rating", row_ids=("better", "worse"))
TIE = TiedPair("p", ("a", "c"), "both_bad", "g", "tie")
RANKING = RankedResponses("r", ("x", "y", "z"), "i", "ranking")
BY_RANKING = [
    PreferencePair("r", *sides, "i", source="ranking", row_ids=("ranking",))
    for sides in (("x", "y"), ("x", "z"), ("y", "z"))
]


def everything(weights: SourceWeights | None = None) -> Items:
    return collect_items(
        [CHOICE, CORRECTION, BY_RATING, *BY_RANKING], [BETTER, WORSE], [TIE], [RANKING],
        weights=weights, ratings_as="levels",
    )  # fmt: skip


def assert_same(one: Items, other: Items) -> None:
    assert one.pairs == other.pairs
    assert one.groups.tolist() == other.groups.tolist()
    assert np.array_equal(one.ratings, other.ratings, equal_nan=True)
    for name in ("comparisons", "ratings"):
        found, expected = vars(getattr(one.evidence, name)), vars(getattr(other.evidence, name))
        for column, values in found.items():
            assert values.tolist() == expected[column].tolist(), (name, column)
    assert one.evidence.rankings.tolist() == other.evidence.rankings.tolist()
    assert one.evidence.weight.tolist() == other.evidence.weight.tolist()
    assert one.evidence.standards == other.evidence.standards


def test_pairs_that_were_derived_from_ratings_and_rankings_are_left_to_those() -> None:
    items = everything()

    texts = [(items.pairs[at].prompt, items.pairs[at].response) for at in range(len(items.pairs))]
    said = items.evidence.comparisons
    assert [texts[at][1] for at in said.first] == ["a", "c", "a"]
    assert [texts[at][1] for at in said.second] == ["b", "b", "c"]
    assert said.is_tie.tolist() == [False, False, True]
    assert said.can_tie.tolist() == [True, False, True]  # nobody ties with their own correction
    assert [texts[at] for at in items.evidence.ratings.item] == [("q", "a"), ("q", "b")]
    assert items.evidence.ratings.level.tolist() == [4, 1]
    assert items.evidence.standards == (Standard("stars", "ann"),)
    assert [texts[at][1] for at in items.evidence.rankings[0]] == ["x", "y", "z"]
    assert items.evidence.weight.tolist() == [2.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_derived_pairs_count_where_what_they_come_from_is_not_here() -> None:
    items = collect_items([BY_RATING, *BY_RANKING], [], ratings_as="levels")

    assert len(items.evidence.comparisons.first) == 4


@pytest.mark.parametrize("source", ["preference", "correction", "rating", "tie", "ranking"])
def test_a_source_of_weight_0_is_as_if_nobody_had_said_it(source: str) -> None:
    without = collect_items(
        [one for one in (CHOICE, CORRECTION) if one.source != source],
        [] if source == "rating" else [BETTER, WORSE],
        [] if source == "tie" else [TIE],
        [] if source == "ranking" else [RANKING],
        ratings_as="levels",
    )

    found = everything(SourceWeights(**{source: 0.0}))

    assert_same(found, without)


def test_weights_of_sources_and_raters_multiply() -> None:
    items = collect_items(
        [CHOICE], [BETTER], weights=SourceWeights(preference=0.5), rater_weights={"ann": 0.1}
    )

    assert items.evidence.weight == pytest.approx([0.1, 0.1])


def test_the_mean_rating_of_a_response_counts_whom_it_trusts() -> None:
    other = RatedResponse("q", "a", 1, "h", "other", rater="eve")

    items = collect_items([], [BETTER, other], rater_weights={"eve": 0.25})

    assert items.ratings == pytest.approx([4.2])


def test_ratings_beside_the_whole_become_evidence_of_their_own() -> None:
    rated = [
        RatedResponse("q", "a", 5, "h", "1", rater="ann", aspects={"tone": 4, "accuracy": 5}),
        RatedResponse("q", "b", 2, "h", "2", aspects={"tone": 0}),
    ]

    items = collect_items([], rated)

    assert list(items.aspects) == ["accuracy", "tone"]
    tone = items.aspects["tone"]
    assert tone.ratings.item.tolist() == [0, 0, 1]
    assert tone.ratings.level.tolist() == [1, 0, 0]
    assert tone.weight == pytest.approx([0.8, 0.2, 1.0])
    assert tone.standards == (Standard("thumbs", "ann"), Standard("thumbs"))


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ((0.9, 0.25, 1.0), [0.9, 0.25, 1.0]),  # 0 to 1
        ((4, 1, 5), [0.75, 0.0, 1.0]),  # 1 to 5
        ((4, 0, 5), [0.8, 0.0, 1.0]),  # 0 to 5
    ],
)
def test_the_scale_of_an_aspect_is_told_by_all_its_numbers(given, shares) -> None:
    rated = [
        RatedResponse("q", f"{at}", 3, "h", f"{at}", aspects={"tone": value})
        for at, value in enumerate(given)
    ]

    tone = collect_items([], rated).aspects["tone"]

    up = np.bincount(tone.ratings.item, tone.weight * tone.ratings.level, 3)
    assert up == pytest.approx(shares)


def test_everything_switched_off_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="switched off"):
        collect_items([CHOICE], [], weights=SourceWeights(preference=0))


def test_won_and_lost_are_read_from_choices_and_orders_but_not_from_ties() -> None:
    better, worse = everything().evidence.won

    assert len(better) == len(worse) == 2 + 3


def test_part_of_the_judgements_is_evidence_of_the_same_items() -> None:
    evidence = everything().evidence

    part = evidence.take(np.array([1, 3, 5]))

    assert part.comparisons.first.tolist() == evidence.comparisons.first[[1]].tolist()
    assert part.ratings.level.tolist() == [4]
    assert part.rankings.tolist() == evidence.rankings.tolist()
    assert part.group.tolist() == evidence.group[[1, 3, 5]].tolist()


def test_what_is_rated_by_aspect_alone_comes_last_and_is_no_judgement_of_the_whole() -> None:
    tone = RatedAspects("q", "c", {"tone": 0.25}, "h", "by aspect", rater="ann")
    again = RatedAspects("q", "a", {"tone": 1.0}, "h", "again", rater="bob")

    items = collect_items(
        [], [BETTER, WORSE], aspects=[tone, again], rater_weights={"ann": 0.5}, ratings_as="levels"
    )

    assert [pair.response for pair in items.pairs] == ["a", "b", "c"]
    assert items.overall == 2
    assert items.groups.tolist() == [0, 0, 0]
    assert_same(
        replace(items, pairs=items.pairs[:2], groups=items.groups[:2], ratings=items.ratings[:2]),
        collect_items([], [BETTER, WORSE], rater_weights={"ann": 0.5}, ratings_as="levels"),
    )
    assert np.isnan(items.ratings[2])
    said = items.aspects["tone"]
    assert said.ratings.item.tolist() == [2, 2, 0]
    assert said.ratings.level.tolist() == [1, 0, 1]
    assert said.weight.tolist() == [0.125, 0.375, 1.0]
    assert said.group.tolist() == [0, 0, 0]


def test_aspects_alone_teach_no_reward() -> None:
    tone = RatedAspects("q", "c", {"tone": 0.25}, "h", "by aspect")

    with pytest.raises(NotEnoughData, match="nothing to learn from"):
        collect_items([], [], aspects=[tone])


def test_aspects_are_switched_off_with_the_ratings() -> None:
    tone = RatedAspects("q", "c", {"tone": 0.25}, "h", "by aspect")

    items = collect_items([CHOICE], [], aspects=[tone], weights=SourceWeights(rating=0))

    assert (items.aspects, len(items.pairs)) == ({}, 2)


def test_the_scale_of_an_aspect_is_that_of_all_its_ratings() -> None:
    stars = RatedAspects("q", "c", {"tone": 5.0}, "h", "five")
    beside = RatedResponse("q", "a", 4, "h", "row", aspects={"tone": 1.0})

    items = collect_items([], [beside], aspects=[stars], ratings_as="levels")

    assert items.aspects["tone"].ratings.level.tolist() == [0, 1]
    assert items.aspects["tone"].weight.tolist() == [1.0, 1.0]
