"""Intervals for one more judgement: their coverage on prompts that were never seen."""

import numpy as np
import pytest

from services.trainer.calibration import fit_calibration
from services.trainer.conformal import (
    Judgements,
    fit_curves,
    fit_label_interval,
    fit_rating_interval,
    grouped_quantile,
)
from shared.contracts.manifest import Calibration
from shared.ml.calibrated import interval

NO_CALIBRATION = Calibration(slope=1.0, intercept=0.0, method="none")


def rated(groups: int, seed: int) -> Judgements:
    """Ratings that follow the reward, noisier where it is low; prompts differ in level and size."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(1, 12, groups)
    group = np.repeat(np.arange(groups), sizes)
    rewards = draw.normal(size=len(group))
    level = draw.normal(0, 0.05 + 0.015 * sizes, groups)[group]  # larger groups are stranger
    noise = draw.normal(0, 1, len(group)) * (0.04 + 0.16 * (rewards < 0))
    values = np.clip(0.5 + 0.15 * rewards + level + noise, 0, 1)
    return Judgements(rewards, values, group)


def labelled(groups: int, seed: int) -> Judgements:
    """Two responses to each prompt, of which one is preferred."""
    draw = np.random.default_rng(seed)
    rewards = draw.normal(size=(groups, 2)) * 2
    first = draw.random(groups) < 1 / (1 + np.exp(rewards[:, 1] - rewards[:, 0]))
    values = np.stack([first, ~first], axis=1).astype(float)
    return Judgements(rewards.ravel(), values.ravel(), np.repeat(np.arange(groups), 2))


def one_of_each_group(known: Judgements, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed).permutation(len(known.groups))
    return draw[np.unique(known.groups[draw], return_index=True)[1]]


def coverage(known: Judgements, fitted, seed: int) -> float:
    found = interval(known.rewards, fitted, NO_CALIBRATION)
    inside = (found.low <= known.values) & (known.values <= found.high)
    return float(inside[one_of_each_group(known, seed)].mean())


def test_ninety_percent_intervals_hold_ninety_percent_of_ratings_of_new_prompts():
    found = [
        coverage(rated(2000, seed + 50), fit_rating_interval(rated(2000, seed)), seed)
        for seed in range(6)
    ]

    assert abs(np.mean(found) - 0.9) <= 0.01
    assert all(abs(share - 0.9) <= 0.02 for share in found)


def test_rows_that_are_taken_for_independent_would_cover_too_little():
    known = rated(2000, seed=1)
    alone = Judgements(known.rewards, known.values, np.arange(len(known.values)))

    pooled, grouped = fit_rating_interval(alone), fit_rating_interval(known)

    rest = rated(2000, seed=51)
    assert coverage(rest, pooled, 1) > coverage(rest, grouped, 1) + 0.01


def test_ninety_percent_label_intervals_hold_ninety_percent_of_the_labels_of_new_prompts():
    found = []
    for seed in range(6):
        known = labelled(2000, seed)
        found.append(label_coverage(known, fit_calibration(known.rewards, known.values), seed))

    assert abs(np.mean(found) - 0.9) <= 0.02


def label_coverage(known: Judgements, calibration: Calibration, seed: int) -> float:
    rest = labelled(2000, seed + 50)
    bounds = interval(rest.rewards, fit_label_interval(known, calibration), calibration)
    return float(np.mean((bounds.low <= rest.values) & (rest.values <= bounds.high)))


@pytest.mark.parametrize(("slope", "intercept"), [(5.0, 0.0), (0.3, 1.5)])
def test_a_calibration_that_is_off_widens_label_intervals_and_costs_no_coverage(slope, intercept):
    """As that of the original recipe is, which is sure of what it was fitted on."""
    off = Calibration(slope=slope, intercept=intercept, method="none")

    found = [label_coverage(labelled(2000, seed), off, seed) for seed in range(6)]

    assert abs(np.mean(found) - 0.9) <= 0.02


@pytest.mark.parametrize("groups", [12, 40])
def test_a_calibration_from_the_same_few_labels_costs_no_coverage(groups):
    found = []
    for seed in range(60):
        known = labelled(groups, seed)
        found.append(label_coverage(known, fit_calibration(known.rewards, known.values), seed))

    assert np.mean(found) >= 0.885


@pytest.mark.parametrize("groups", [12, 40])
def test_few_prompts_give_wider_intervals_and_never_too_little_coverage_on_average(groups):
    found = [
        coverage(rated(200, seed + 500), fit_rating_interval(rated(groups, seed)), seed)
        for seed in range(60)
    ]

    assert np.mean(found) >= 0.885  # twelve prompts leave an s.e. of about 0.01


def test_with_fewer_than_nine_prompts_the_interval_is_everything():
    fitted = fit_rating_interval(rated(8, seed=1))

    found = interval(np.array([-1.0, 3.0]), fitted, NO_CALIBRATION)

    assert fitted.quantile is None
    assert (found.low.tolist(), found.high.tolist()) == ([0, 0], [1, 1])


def test_one_judgement_a_prompt_gives_the_usual_finite_sample_quantile():
    scores = np.arange(19.0)[::-1]

    # ceil(20 * 0.9) = 18 of 19 scores, the 18th smallest of 0..18
    assert grouped_quantile(scores, np.arange(19), 0.9) == 17.0
    assert grouped_quantile(scores[:8], np.arange(8), 0.9) is None


def test_a_prompt_counts_once_however_much_was_said_about_it():
    scores = np.concatenate([np.full(100, 9.0), np.arange(9.0)])
    groups = np.concatenate([np.zeros(100), np.arange(1, 10)]).astype(int)

    # ten groups and the one to come: 10 / 11 = 0.909 of the weight lies at 9 and below
    assert grouped_quantile(scores, groups, 0.8) == 8.0
    assert grouped_quantile(scores, groups, 0.9) == 9.0


def test_the_interval_is_narrow_where_people_agree_and_wide_where_they_do_not():
    fitted = fit_rating_interval(rated(2000, seed=1))

    found = interval(np.array([-0.8, 0.8]), fitted, NO_CALIBRATION)

    wide, narrow = found.high - found.low
    assert wide > 1.3 * narrow


def test_the_expected_rating_never_falls_with_the_reward():
    centre, spread = fit_curves(rated(500, seed=3))

    assert (np.diff(centre.rewards) > 0).all()
    assert (np.diff(centre.values) >= 0).all()
    assert min(spread.values) > 0


def test_a_model_that_rewards_everything_the_same_gives_the_same_interval():
    known = rated(200, seed=1)
    flat = Judgements(np.zeros(len(known.values)), known.values, known.groups)

    found = interval(np.array([-5.0, 0.0, 5.0]), fit_rating_interval(flat), NO_CALIBRATION)

    assert len(set(found.low)) == len(set(found.high)) == 1
    assert found.expected[0] == pytest.approx(known.values.mean(), abs=0.05)
