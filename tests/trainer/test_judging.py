"""What a candidate is judged on, and against."""

from pathlib import Path

import pytest

from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.judging import held_out_comparisons, judge, matched_ratings


def rated(at: int, stars: float) -> RatedResponse:
    return RatedResponse(f"prompt {at}", f"response {at}", stars, f"group {at}", f"row {at}")


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
