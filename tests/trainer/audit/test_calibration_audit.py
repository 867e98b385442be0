import numpy as np
import pytest

from services.trainer.audit.calibration import audit_calibration
from services.trainer.audit.held_out import Compared, Rated, Rewards
from services.trainer.audit.ratings import audit_classes, audit_regression
from services.trainer.examples import RatedResponse
from shared.ml.scorer import Scores


def rated(probability: np.ndarray, stars: np.ndarray, scale: str = "stars") -> Rated:
    rows = [
        RatedResponse(f"p{at}", f"r{at}", float(said), f"g{at}", str(at), scale=scale)
        for at, said in enumerate(stars)
    ]
    logits = np.log(probability / (1 - probability))
    count = len(rows)
    return Rated(rows, Scores(logits, probability, np.zeros(count, bool), np.ones(count, int)))


@pytest.fixture
def nothing(scorer_of) -> Compared:
    return Compared.of([], Rewards(scorer_of(lambda _: 0.0)))


def test_probabilities_that_come_true_err_by_chance_only(nothing):
    draw = np.random.default_rng(0)
    probability = draw.uniform(0.05, 0.95, 2000)
    stars = np.where(draw.random(2000) < probability, 5, 1)

    (good,) = audit_calibration(nothing, rated(probability, stars), good_rating=4, seed=0)

    assert good.ece.value < 2 * good.ece_if_calibrated
    assert good.p > 0.05
    assert good.brier.value < good.brier_constant
    assert len(good.bins) == 10
    assert {one.rows for one in good.bins} == {200}


def test_chance_errs_more_where_the_rows_of_a_prompt_come_true_together(nothing):
    """Eight copies of each row: chance is that of the 100 rows there really are."""
    draw = np.random.default_rng(2)
    probability = draw.uniform(0.05, 0.95, 100)
    stars = np.where(draw.random(100) < probability, 5, 1)
    once = rated(probability, stars)
    again = Rated([*once.rows] * 8, once.scores.take(np.tile(np.arange(100), 8)))

    (alone,) = audit_calibration(nothing, once, good_rating=4, seed=0)
    (copied,) = audit_calibration(nothing, again, good_rating=4, seed=0)

    assert copied.ece_if_calibrated >= alone.ece_if_calibrated
    assert copied.p > 0.05


def test_overconfident_probabilities_err_by_as_much_as_they_claim_too_much(nothing):
    probability = np.tile([0.1, 0.9], 200)
    stars = np.tile([1, 5, 5, 1, 1, 5, 1, 5], 50)  # right three times of four

    (good,) = audit_calibration(nothing, rated(probability, stars), good_rating=4, seed=0)

    assert good.ece.value == pytest.approx(0.15)
    assert good.p < 0.01
    assert good.brier.value == pytest.approx(0.75 * 0.1**2 + 0.25 * 0.9**2)


def test_choices_of_a_model_with_the_true_rewards_are_calibrated(world):
    judged = world(0, prompts=600)

    (pairs,) = audit_calibration(
        judged.compared(judged.model(length=0, noise=0, seed=0)),
        Rated([], None),
        good_rating=4,
        seed=0,
    )

    assert pairs.of == "pairs"
    assert pairs.p > 0.05


def test_regression_is_reported_for_each_scale_that_was_used():
    draw = np.random.default_rng(1)
    said = draw.uniform(0.1, 0.9, 60)
    rows = rated(said, 1 + 4 * (said + 0.1), scale="unit")

    both = audit_regression(rows, {}, seed=0)

    assert [one.scale for one in both] == ["all", "unit"]
    assert both[1].pearson.value == pytest.approx(1.0)
    assert both[1].mse.value == pytest.approx(0.01)
    assert both[1].mse_constant == pytest.approx(float(np.var(said)))


def test_precision_and_recall_are_those_of_held_out_prompts():
    probability = np.array([0.9, 0.8, 0.7, 0.2, 0.3, 0.6, 0.1, 0.4, 0.9, 0.1])
    stars = np.array([5, 4, 1, 1, 5, 5, 2, 3, 4, 1])

    (report,) = audit_classes(rated(probability, stars), {}, good_rating=4)

    good, bad = report.classes
    assert (good.rows, good.precision, good.recall) == (5, pytest.approx(4 / 5), pytest.approx(0.8))
    assert (bad.rows, bad.f1) == (5, pytest.approx(0.8))
    assert report.accuracy == pytest.approx(0.8)


def test_the_original_recipes_own_report_is_shown_beside_it(scorer_of):
    recipe = {"row_split_accuracy": 0.7, "row_split_auc": None}
    for label in ("good", "bad"):
        recipe |= {f"row_split_{label}_{name}": 0.5 for name in ("precision", "recall", "f1")}
        recipe[f"row_split_{label}_support"] = 12.0

    (report,) = audit_classes(Rated([], None), recipe, good_rating=4)

    assert report.on == "row_split"
    assert [one.rows for one in report.classes] == [12, 12]
