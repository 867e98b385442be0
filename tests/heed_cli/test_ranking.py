"""Ranks and intervals, against numbers worked by hand."""

import pytest

from heed_cli.demo.ranking import (
    Candidates,
    bootstrap_interval,
    held_out_candidates,
    probes,
    rank_gain,
)


def rated(prompt: str, response: str, rating: float, split: str = "test") -> dict:
    line = {"kind": "rated", "split": split, "group": prompt, "prompt": prompt}
    return {**line, "response": response, "rating": rating}


def pair(prompt: str, chosen: str, rejected: str, split: str = "test") -> dict:
    line = {"kind": "pair", "split": split, "group": prompt, "prompt": prompt}
    return {**line, "chosen": chosen, "rejected": rejected}


def test_responses_are_valued_by_their_mean_rating():
    lines = [rated("p", "x", 5), rated("p", "x", 2), rated("p", "y", 3)]

    [found] = held_out_candidates(lines)

    assert dict(zip(found.responses, found.values, strict=True)) == {"x": 3.5, "y": 3}


def test_responses_without_ratings_are_valued_by_the_comparisons_they_won():
    lines = [pair("p", "x", "y"), pair("p", "x", "z"), pair("p", "y", "z")]

    [found] = held_out_candidates(lines)

    values = dict(zip(found.responses, found.values, strict=True))
    assert values == {"x": 1.0, "y": 0.5, "z": 0.0}


def test_what_was_trained_on_or_says_nothing_is_left_out():
    lines = [
        rated("trained", "x", 5, split="train"),
        rated("trained", "y", 1, split="train"),
        rated("alone", "x", 5),
        rated("equal", "x", 4),
        rated("equal", "y", 4),
        {"kind": "tie", "split": "test", "group": "tie", "prompt": "tie", "responses": ["x", "y"]},
    ]

    assert held_out_candidates(lines) == []


def test_the_input_order_is_drawn_and_always_the_same():
    lines = [rated(f"p{n}", text, at) for n in range(60) for at, text in enumerate("abcd")]

    found = held_out_candidates(lines)

    assert found == held_out_candidates(list(reversed(lines)))
    places = [one.rank_of_best(range(4)) for one in found]
    assert 2 < sum(places) / len(places) < 3  # the middle of 1 to 4 is 2.5


def test_the_gain_is_how_many_places_the_best_response_rises():
    candidates = [
        Candidates("p", ["a", "b", "c"], [1.0, 2.0, 5.0]),  # from place 3 to 1
        Candidates("q", ["a", "b", "c"], [5.0, 2.0, 1.0]),  # from place 1 to 2
        Candidates("r", ["a", "b"], [4.0, 4.0]),  # both are best: place 1.5 either way
    ]

    gain = rank_gain(candidates, [[2, 0, 1], [1, 0, 2], [1, 0]])

    assert gain.prompts == 3
    assert gain.input_rank == pytest.approx((3 + 1 + 1.5) / 3)
    assert gain.model_rank == pytest.approx((1 + 2 + 1.5) / 3)
    assert gain.gain == pytest.approx(1 / 3)
    assert gain.low <= gain.gain <= gain.high


def test_the_interval_of_a_mean_is_about_two_standard_errors_on_either_side():
    values = [0.0, 1.0] * 200  # mean 0.5, standard error 0.5 / 20 = 0.025

    low, high = bootstrap_interval(values)

    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_a_probe_has_ten_responses_its_own_first():
    lines = [rated(f"p{n}", f"r{n}{text}", 3) for n in range(4) for text in "abcde"]

    found = probes(lines)

    assert [len(responses) for _, responses in found] == [10] * 4
    assert found[0][1][:5] == ["r0a", "r0b", "r0c", "r0d", "r0e"]
