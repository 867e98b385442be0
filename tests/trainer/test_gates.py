"""Verdicts on simulated models whose true difference is known."""

import numpy as np
import pytest

from services.trainer.gates import (
    AbsoluteGates,
    Verdict,
    audit_warnings,
    compare,
    exact_p,
    explain,
    gate_report,
    pairs_needed,
)


def margins(accuracy: float, pairs: int, seed: int) -> np.ndarray:
    """Margins of a model that is right on each pair with this probability."""
    right = np.random.default_rng(seed).random(pairs) < accuracy
    return np.where(right, 1.0, -1.0)


def judged(candidate: np.ndarray, opponent: np.ndarray, *, groups=None, margin: float = 0.02):
    own_groups = [str(at) for at in range(len(candidate))]
    return compare(candidate, opponent, groups or own_groups, opponent="champion", margin=margin)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [(5, Verdict.UNDECIDABLE), (50, Verdict.UNDECIDABLE), (400, Verdict.NOT_WORSE)],
)
def test_identical_models_are_not_worse_once_there_is_enough_data(pairs: int, expected: Verdict):
    model = margins(0.65, pairs, seed=1)

    assert judged(model, model).verdict is expected


def test_a_clearly_better_model_is_better():
    """0.80 against 0.60 on 300 independent pairs: standard error about 0.037, z about 5."""
    found = judged(margins(0.8, 300, seed=1), margins(0.6, 300, seed=2))

    assert found.verdict is Verdict.BETTER
    assert found.p < 0.001
    assert found.low > 0


def test_a_clearly_worse_model_is_worse():
    found = judged(margins(0.55, 300, seed=1), margins(0.75, 300, seed=2))

    assert found.verdict is Verdict.WORSE


def test_a_small_difference_on_little_data_is_undecidable_and_says_what_it_would_take():
    found = judged(margins(0.65, 60, seed=3), margins(0.62, 60, seed=4))

    assert found.verdict is Verdict.UNDECIDABLE
    assert found.pairs_needed > 60


def test_pairs_of_one_prompt_count_as_one_piece_of_evidence():
    """Twelve wins in a row are convincing from twelve prompts and not from two."""
    candidate, opponent = np.ones(40), np.array([-1.0] * 12 + [1.0] * 28)

    alone = judged(candidate, opponent)
    grouped = judged(candidate, opponent, groups=["x"] * 12 + ["y"] * 28)

    assert alone.verdict is Verdict.BETTER
    assert grouped.verdict is Verdict.UNDECIDABLE


def test_no_held_out_pairs_decide_nothing():
    found = judged(np.empty(0), np.empty(0))

    assert found.verdict is Verdict.UNDECIDABLE


def test_the_needed_pairs_are_those_of_a_power_table():
    """Models that disagree on a fifth of the pairs: 1, 2 and 3 points at 80 % power."""
    needed = [pairs_needed(0.2, effect) for effect in (0.01, 0.02, 0.03)]

    assert needed == pytest.approx([12_365, 3_091, 1_374], abs=1)


def test_equally_good_models_are_rarely_called_better():
    """200 A/A comparisons at the 5 % level: 10 expected, 21 or more is a 0.1 % event."""
    verdicts = [
        judged(margins(0.65, 80, seed=2 * trial), margins(0.65, 80, seed=2 * trial + 1)).verdict
        for trial in range(200)
    ]

    assert verdicts.count(Verdict.BETTER) <= 20


def test_the_gate_is_as_good_as_the_worst_comparison():
    better = judged(margins(0.8, 300, seed=1), margins(0.5, 300, seed=2))
    open_ = judged(margins(0.65, 60, seed=3), margins(0.62, 60, seed=4))

    report = gate_report([better, open_], [], "better")

    assert report["verdict"] == "undecidable"
    assert not report["passed"]


@pytest.mark.parametrize(
    ("policy", "passed", "promotes"),
    [("better", False, False), ("not_worse", True, True), ("manual", True, False)],
)
def test_a_model_that_is_not_worse_goes_live_as_the_policy_says(policy, passed, promotes):
    model = margins(0.65, 400, seed=1)
    report = gate_report([judged(model, model)], [], policy)

    assert (report["passed"], report["promotes"]) == (passed, promotes)


def test_an_absolute_gate_stops_a_better_model_and_says_why():
    better = judged(margins(0.8, 300, seed=1), margins(0.5, 300, seed=2))
    gates = AbsoluteGates(min_correlation=0.8, max_mse=0.1, min_accuracy=0.7)
    failures = gates.failures(
        {
            "predicted_rating_correlation": 0.5,
            "predicted_rating_mse": 0.05,
            "rated_mse": 0.15,
            "pair_accuracy": 0.8,
        }
    )

    assert failures == ["correlation with ratings is 0.500, the gate is 0.8"]
    assert not gate_report([better], failures, "better")["passed"]


def test_a_demanded_quality_that_could_not_be_measured_fails():
    assert len(AbsoluteGates(max_mse=0.1).failures({})) == 1


def test_prompt_groups_may_be_any_bytes():
    model = margins(0.65, 40, seed=1)

    found = judged(model, model, groups=[b"\xff\x00", b"\xfe"] * 20)

    assert found.groups == 2


@pytest.mark.parametrize(
    ("wins", "losses", "expected"),
    [(5, 0, 1 / 32), (8, 2, 56 / 1024), (0, 0, 1.0), (1, 3, 15 / 16)],
)
def test_the_exact_test_of_single_pairs_is_mcnemars(wins: int, losses: int, expected: float):
    """P(at least so many heads of so many coins), worked by hand; pairs both get right are mute."""
    gain = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 7)

    assert exact_p(gain, [str(at) for at in range(len(gain))]) == pytest.approx(expected)


def test_the_exact_test_flips_whole_groups():
    """Totals 3, 1 and −1: of the 8 ways to set their signs, 2 reach 3 or more."""
    gain = np.array([1.0, 1.0, 1.0, 1.0, -1.0])

    assert exact_p(gain, ["a", "a", "a", "b", "c"]) == pytest.approx(3 / 8, abs=0.03)


def test_four_prompts_are_too_few_to_show_that_a_model_is_better():
    """The bootstrap alone is sure; of 16 ways to set four signs one is as good: p = 0.0625."""
    found = judged(np.ones(20), -np.ones(20), groups=["a", "b", "c", "d"] * 5)

    assert found.p < 0.05
    assert found.p_exact == pytest.approx(1 / 16)
    assert found.verdict is not Verdict.BETTER
    assert (found.wins, found.losses) == (20, 0)


def test_equal_models_on_clustered_pairs_are_rarely_called_better():
    """100 A/A comparisons on 12 prompts: 5 expected at most, 14 or more is a 0.05 % event."""
    better = 0
    for trial in range(100):
        generator = np.random.default_rng(trial)
        own, other = (np.repeat(generator.choice([-1.0, 1.0], 12), 5) for _ in range(2))
        groups = [str(at // 5) for at in range(60)]
        better += judged(own, other, groups=groups).verdict is Verdict.BETTER

    assert better <= 13


@pytest.mark.parametrize("seed", range(6))
def test_an_undecidable_comparison_asks_for_more_pairs_than_it_had(seed: int):
    found = judged(margins(0.65, 700, seed=10 + seed), margins(0.66, 700, seed=20 + seed))

    assert found.verdict is not Verdict.UNDECIDABLE or found.pairs_needed > 700


def test_the_report_keeps_how_the_held_out_rows_came_to_be():
    report = gate_report([], [], "better", split={"allowed_because": "a public benchmark"})

    assert report["split"] == {"allowed_because": "a public benchmark"}


def test_a_model_that_prefers_length_beyond_people_waits_for_a_person():
    better = judged(margins(0.8, 300, seed=1), margins(0.6, 300, seed=2))
    warnings = audit_warnings({"length_verdict": "beyond_people"})

    flagged = gate_report([better], [], "better", warnings=warnings)
    unbiased = gate_report([better], [], "better", warnings=audit_warnings({}))

    assert (flagged["passed"], flagged["promotes"]) == (True, False)
    assert "prefers length beyond people" in explain(flagged)
    assert (unbiased["promotes"], unbiased["warnings"]) == (True, [])
