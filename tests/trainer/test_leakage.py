"""Leaks, repeats and contradictions that were planted into a dataset."""

from dataclasses import replace
from typing import Any

import pytest

from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RatedStep,
    RewardDataset,
    TiedPair,
)
from services.trainer.leakage import examine, find_leaks, require_no_leaks
from shared.errors import LeakingDataset

QUESTIONS = [
    "How do I renew my passport while I am travelling in Portugal?",
    "Which rivers of northern Norway are safe for beginners with a kayak?",
    "Explain the difference between a comet and an asteroid to a child.",
    "My tomato plants have yellow leaves although I water them daily.",
]
LONG = (
    "Rest in bed for a week, drink plenty of water, keep the room cool, and call the practice "
    "again when the temperature stays high after the weekend."
)


def pair(at: int, **given: Any) -> PreferencePair:
    values = {
        "prompt": QUESTIONS[at],
        "chosen": f"chosen {at}",
        "rejected": f"rejected {at}",
        "group": f"group {at}",
        "row_ids": (f"row {at}",),
    }
    return PreferencePair(**values | given)


def rated(stars: float, row_id: str, **given: Any) -> RatedResponse:
    return RatedResponse("prompt", "response", stars, "group", row_id, **given)


def dataset(
    train: list[PreferencePair], test: list[PreferencePair], *, ratings: tuple[Any, ...] = ()
) -> RewardDataset:
    return RewardDataset(train, test, ratings, [], "hash")


def test_an_honest_dataset_has_no_leaks():
    leaks, quality = examine(dataset([pair(0), pair(1)], [pair(2), pair(3)]))

    assert not leaks
    assert [found.count for found in vars(quality).values()] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prompt": QUESTIONS[0].upper() + "  "}, "prompts"),
        ({"prompt": QUESTIONS[0].replace("while ", "")}, "near_prompts"),
        ({"row_ids": ("row 0",)}, "rows"),
    ],
)
def test_each_kind_of_leak_is_found_and_named_by_row(change: dict[str, Any], expected: str):
    held_out = pair(2, **{"row_ids": ("held out",)} | change)

    leaks = find_leaks(dataset([pair(0), pair(1)], [held_out, pair(3)]))

    assert {name for name, found in vars(leaks).items() if found.count} == {expected}
    assert getattr(leaks, expected).row_ids == held_out.row_ids


def test_a_near_copy_of_a_whole_comparison_is_a_leak_under_any_prompt():
    texts = {"chosen": LONG, "rejected": LONG.replace("a week", "two weeks")}
    copied = {"chosen": texts["rejected"] + " Thanks.", "rejected": texts["chosen"]}

    leaks = find_leaks(
        dataset(
            [pair(0, prompt="What helps?", **texts)], [pair(1, prompt="Advice, please!", **copied)]
        )
    )

    assert (leaks.near_copies.count, leaks.near_copies.row_ids) == (1, ("row 1",))
    assert leaks.near_prompts.count == 0


def test_responses_on_both_sides_are_told_and_are_no_leak():
    unsure = "I do not know."
    train = [pair(0, rejected=unsure), pair(1, chosen=LONG)]
    test = [pair(2, rejected=unsure), pair(3, chosen=LONG.replace("plenty of ", ""))]

    leaks, quality = examine(dataset(train, test))

    assert not leaks
    assert (quality.responses.count, quality.near_responses.count) == (1, 1)


def test_contradictions_and_repeats_are_counted():
    twice = replace(pair(0), row_ids=("again",))
    opposite = pair(0, chosen="rejected 0", rejected="chosen 0", row_ids=("opposite",))
    ratings = (
        rated(5, "good"),
        rated(2, "bad"),
        rated(5, "good too"),
        rated(4, "x", scale="thumbs"),
    )

    _, quality = examine(dataset([pair(0), twice, opposite], [pair(1)], ratings=ratings))

    assert quality.contradictions.count == 4
    assert quality.contradictions.row_ids == (
        "again", "bad", "good", "good too", "opposite", "row 0",
    )  # fmt: skip
    assert quality.repeated.row_ids == ("again", "good too")


def test_rankings_ties_and_steps_contradict_and_repeat_too():
    three = RankedResponses("prompt", ("a", "b", "c"), "group", "ranked")
    ranked = [
        PreferencePair("prompt", *both, "group", source="ranking", row_ids=("ranked",))
        for both in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    choice = PreferencePair("prompt", "c", "a", "group", row_ids=("chosen",))
    tie = TiedPair("prompt", ("a", "b"), "tie", "group", "tie")
    turned = replace(tie, responses=("b", "a"), row_id="tie again")
    steps = [
        RatedStep("prompt", ("First",), stars, "group", f"step {stars}", scale="thumbs")
        for stars in (4.0, 2.0)
    ]

    _, quality = examine(
        replace(
            dataset([*ranked, choice], []),
            train_rankings=[three, replace(three, row_id="ranked again")],
            train_ties=[tie, turned],
            train_steps=steps,
        )
    )

    assert quality.contradictions.row_ids == ("chosen", "ranked", "step 2.0", "step 4.0")
    assert quality.repeated.row_ids == ("ranked again", "tie again")


def test_people_who_agree_do_not_repeat_each_other():
    agreed = [pair(0, rater=rater, row_ids=(rater,)) for rater in ("r_1", "r_2")]
    ratings = tuple(rated(5, f"{at} {rater}", rater=rater) for at in (1, 2) for rater in ("x", "y"))

    _, quality = examine(dataset([*agreed, *agreed], [pair(1)], ratings=ratings))

    assert quality.repeated.row_ids == ("2 x", "2 y", "r_1", "r_2")


def test_which_copies_are_found_does_not_depend_on_the_order_of_the_rows():
    """Of eight comparisons of a prompt four are looked at, whoever came first."""
    asked = {"prompt": "What helps?", "rejected": LONG.replace("a week", "two weeks")}
    words = ["aspirin", "bananas", "chess", "dancing", "exercise", "flowers", "garlic", "honey"]
    many = [pair(0, chosen=f"{word * 20} {LONG}", row_ids=(word,), **asked) for word in words]
    copied = replace(many[0], prompt="Advice, please!", group="group 1", row_ids=("copy",))

    for train in (many, many[::-1]):
        assert find_leaks(dataset(train, [copied])).near_copies.row_ids == ("copy",)


def test_comparisons_made_of_ratings_are_no_judgements_of_their_own():
    derived = [pair(0, source="rating"), pair(0, source="rating")]

    _, quality = examine(dataset(derived, [pair(1)]))

    assert quality.repeated.count == 0


def test_a_leaking_dataset_is_refused_with_numbers_and_without_texts():
    with pytest.raises(LeakingDataset) as refused:
        require_no_leaks(dataset([pair(0), pair(1)], [pair(0), pair(1), pair(2)]))

    assert "2 prompts as they are, 2 feedback rows" in refused.value.detail
    assert "passport" not in refused.value.detail
