"""What a candidate is judged on, and against."""

from collections import defaultdict
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.judging import held_out_comparisons, judge, matched_ratings


def rated(at: int, stars: float, **given: Any) -> RatedResponse:
    values = {"row_id": f"row {at}"} | given
    return RatedResponse(f"prompt {at}", f"response {at}", stars, f"group {at}", **values)


def held_out(pairs: int = 0, ratings: int = 0) -> RewardDataset:
    compared = [
        PreferencePair("prompt", "chosen", f"rejected {at}", "group") for at in range(pairs)
    ]
    return RewardDataset([], compared, [], [rated(at, 1 + at % 5) for at in range(ratings)], "hash")


def test_ratings_are_matched_across_prompts_and_each_is_used_once():
    matched = matched_ratings([rated(0, 5), rated(1, 1), rated(2, 4), rated(3, 2), rated(4, 3)])

    assert [(pair.chosen[-1], pair.rejected[-1]) for pair in matched] == [("2", "1"), ("0", "3")]
    better, worse = matched[0].sides
    assert (better.prompt, worse.prompt) == ("prompt 2", "prompt 1")


def test_a_response_that_several_people_rated_is_matched_once_by_their_mean():
    """Single ratings of 5 and 1 would be matched with each other: a response against itself."""
    ratings = [
        rated(0, 5, row_id="liked"),
        rated(0, 1, row_id="disliked"),
        rated(1, 4, row_id="good"),
    ]

    (pair,) = matched_ratings(ratings)

    assert (pair.chosen, pair.rejected) == ("response 1", "response 0")
    assert pair.row_ids == ("good", "liked", "disliked")


def test_prompts_are_matched_so_that_none_is_in_two_groups():
    """Groups are resampled as independent, so nothing of a prompt may be in another one."""
    ratings = [
        RatedResponse(
            f"prompt {prompt}",
            f"{prompt}-{at}",
            1 + (prompt + at) % 5,
            str(prompt),
            f"{prompt}-{at}",
        )
        for prompt in range(20)
        for at in range(1 + prompt % 7)
    ]

    matched = matched_ratings(ratings)

    groups_of = defaultdict(set)
    for pair in matched:
        for side in pair.sides:
            groups_of[side.prompt].add(pair.group)
    assert {len(groups) for groups in groups_of.values()} == {1}
    assert len(set(chain(*(pair.row_ids for pair in matched)))) == 2 * len(matched) > 20


def test_stars_are_matched_with_stars_and_thumbs_with_thumbs():
    ratings = [rated(0, 5), rated(1, 3), rated(2, 4, scale="thumbs"), rated(3, 2, scale="thumbs")]

    matched = matched_ratings(ratings)

    assert [(pair.chosen[-1], pair.rejected[-1]) for pair in matched] == [("0", "1"), ("2", "3")]


def test_matched_ratings_are_reported_under_what_both_have_in_common():
    here = {"task": "triage", "region": "north"}

    (pair,) = matched_ratings(
        [rated(0, 5, slices=here), rated(1, 1, slices=here | {"region": "south"})]
    )

    assert pair.slices == {"task": "triage"}


def test_equal_ratings_say_nothing():
    assert matched_ratings([rated(at, 3) for at in range(6)]) == []


@pytest.mark.parametrize(
    ("pairs", "ratings", "expected"), [(20, 50, 20), (19, 50, 25), (19, 0, 19), (0, 0, 0)]
)
def test_comparisons_are_preferred_to_ratings_where_there_are_enough(pairs, ratings, expected):
    assert len(held_out_comparisons(held_out(pairs, ratings))) == expected


def test_a_model_that_nothing_is_held_out_for_is_never_promoted(settings, tmp_path: Path):
    report = judge(tmp_path, None, held_out(), metrics={}, settings=settings, secret=b"secret")

    assert (report["verdict"], report["passed"]) == ("undecidable", False)
    assert "nothing is held out" in report["failures"][0]


def test_what_the_audit_finds_about_length_is_a_warning_in_the_report(settings, tmp_path: Path):
    metrics = {"length_verdict": "beyond_people"}

    report = judge(tmp_path, None, held_out(), metrics=metrics, settings=settings, secret=b"secret")

    assert ["length beyond people" in warning for warning in report["warnings"]] == [True]
