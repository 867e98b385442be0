import numpy as np
import pytest

from services.trainer.audit.intervals import correlated, difference, holm, mean_difference, share


def test_holm_multiplies_the_smallest_by_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_ten_hits_of_ten_are_no_certainty():
    found = share(np.ones(10), [str(at) for at in range(10)])

    # Wilson's interval with Student's t at 9 degrees of freedom: 1 / (1 + 2.262² / 10)
    assert (found.value, found.low, found.high) == (1.0, pytest.approx(0.6615, abs=1e-3), 1.0)


def test_one_prompt_alone_says_nothing():
    found = share(np.ones(50), ["g"] * 50)

    assert (found.low, found.high) == (0.0, 1.0)


def test_the_intervals_of_grouped_shares_cover_the_truth():
    draw = np.random.default_rng(0)
    groups = [str(at // 5) for at in range(200)]
    covered = 0
    for _ in range(400):
        chance = np.repeat(draw.beta(3, 2, size=40), 5)  # mean 0.6, alike within a group
        found = share((draw.random(200) < chance).astype(float), groups)
        covered += found.low <= 0.6 <= found.high

    assert 0.92 <= covered / 400 <= 0.98


def test_slices_of_equal_accuracy_differ_significantly_in_one_of_twenty():
    draw = np.random.default_rng(1)
    groups = [str(at // 4) for at in range(400)]
    is_in = np.arange(400) < 120
    small = 0
    for _ in range(400):
        chance = np.repeat(draw.beta(3, 2, size=100), 4)
        small += difference((draw.random(400) < chance).astype(float), is_in, groups)[1] < 0.05

    assert 0.02 <= small / 400 <= 0.08


def test_a_difference_of_half_the_rows_is_found():
    values = np.array([1.0, 1, 1, 0, 1, 1] * 10 + [0.0, 0, 1, 0, 0, 0] * 10)

    found, p = difference(values, np.arange(120) < 60, [str(at) for at in range(120)])

    assert found.value == pytest.approx(4 / 6)
    assert found.low < 4 / 6 < found.high
    assert p < 1e-6


def test_models_that_agree_on_eight_rows_are_not_known_to_be_equal():
    found = mean_difference(np.zeros(8), [str(at) for at in range(8)])

    assert found.value == 0.0
    # two imaginary rows, 1 and -1, of 8: sqrt(10 / 9 * 2 / 64) times Student's t at 7 degrees
    assert (found.low, found.high) == (
        pytest.approx(-0.4406, abs=1e-3),
        pytest.approx(0.4406, abs=1e-3),
    )


def test_the_intervals_of_rare_differences_cover_the_truth():
    draw = np.random.default_rng(2)
    groups = [str(at) for at in range(100)]
    covered = 0
    for _ in range(400):
        found = mean_difference((draw.random(100) < 0.02).astype(float), groups)
        covered += found.low <= 0.02 <= found.high

    assert covered / 400 > 0.94


def test_a_constant_correlates_with_nothing():
    groups = [str(at) for at in range(9)]

    assert correlated(np.ones(9), np.arange(9.0), groups, seed=0) is None
