"""Slices on which a model is surely bad, and slices that are only small."""

import numpy as np
import pytest

from services.trainer.examples import PreferencePair
from services.trainer.slice_gates import below_p, judge_slices


def pairs(**sizes: int) -> list[PreferencePair]:
    return [
        PreferencePair("p", "c", "r", f"{task} {at}", slices={"task": task})
        for task, size in sizes.items()
        for at in range(size)
    ]


def right(*shares: tuple[int, int]) -> np.ndarray:
    """Margins of a model that gets so many of so many pairs right, one after the other."""
    return np.concatenate(
        [np.repeat([1.0, -1.0], [good, size - good]) for good, size in shares]
    )  # fmt: skip


def failures(own, other, held_out, *, floor=None) -> list[str]:
    slices = judge_slices(own, other, held_out, fewest=10, floor=floor)
    return [why for one in slices for why in one.failures(floor)]


def test_a_gain_in_one_slice_does_not_pay_for_a_loss_in_another():
    held_out = pairs(tea=200, triage=40)
    own, other = right((180, 200), (10, 40)), right((100, 200), (30, 40))

    (why,) = failures(own, other, held_out)

    assert (
        why == "task=triage is worse than the live model: 0.250 against 0.750 on 40 held-out pairs"
    )


def test_a_small_slice_does_not_fail_by_chance():
    """12 of 20 against 14 of 20, and 6 of 12 where 0.7 is demanded: neither proves anything."""
    held_out = pairs(tea=20, triage=12)
    own, other = right((14, 20), (6, 12)), right((15, 20), (7, 12))

    assert failures(own, other, held_out, floor=0.7) == []


def test_a_slice_surely_below_the_floor_fails_without_a_live_model():
    own = right((180, 200), (20, 60))

    (why,) = failures(own, None, pairs(tea=200, triage=60), floor=0.6)

    assert why == "task=triage has accuracy 0.333 on 60 held-out pairs, the gate is 0.6"


def test_slices_with_few_pairs_and_those_that_are_everything_are_left_out():
    held_out = pairs(tea=50, triage=9)
    everything = pairs(tea=50)

    assert [
        one.name for one in judge_slices(np.ones(59), None, held_out, fewest=10, floor=None)
    ] == ["task=tea"]
    assert judge_slices(np.ones(50), None, everything, fewest=10, floor=None) == []


def test_a_slice_that_is_everything_has_a_floor_and_no_live_model_to_beat():
    """Whether all pairs together may be a little worse is the gate's policy to say."""
    worse = np.concatenate([-np.ones(40), np.ones(60)])

    (found,) = judge_slices(worse, np.ones(100), pairs(tea=100), fewest=10, floor=0.8)

    assert found.p_worse is None
    assert found.failures(0.8) == [
        "task=tea has accuracy 0.600 on 100 held-out pairs, the gate is 0.8"
    ]


def test_of_many_slices_one_that_looks_bad_is_no_proof():
    """One of 20 slices loses 8 of 9 that differ: p = 0.02 alone, 0.39 among twenty."""
    sizes = {f"task{at:02}": 20 for at in range(20)}
    held_out = pairs(**sizes)
    own, other = np.ones(400), np.ones(400)
    own[:8], other[8] = -1, -1

    slices = judge_slices(own, other, held_out, fewest=10, floor=None)

    assert slices[0].p_worse == pytest.approx(20 * 10 / 512)


@pytest.mark.parametrize(
    ("hits", "expected"), [([0, 0, 0], 1 / 8), ([1, 0, 0], 4 / 8), ([1, 1, 1], 1.0)]
)
def test_the_floor_is_tested_by_the_binomial_where_pairs_are_single(hits, expected):
    assert below_p(np.array(hits, dtype=float), ["a", "b", "c"], 0.5) == pytest.approx(expected)


def test_half_a_hit_fails_no_slice():
    """2.5 of 3 against a floor of 1: three hits would pass, and a tie is no proof of a miss."""
    assert below_p(np.array([1.0, 1.0, 0.5]), ["a", "b", "c"], 1.0) == 1.0


def test_pairs_of_one_prompt_are_one_piece_of_evidence_against_a_floor():
    wrong = np.zeros(40)

    assert below_p(wrong, ["a"] * 40, 0.6) > 0.05
    assert below_p(wrong, [str(at) for at in range(40)], 0.6) < 0.001
