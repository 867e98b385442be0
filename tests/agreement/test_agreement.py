"""Agreement of raters, against independent libraries and numbers worked by hand."""

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from shared.agreement.alpha import measure_agreement
from shared.agreement.judged import Judged, as_judged
from shared.agreement.kappa import pairwise_kappas

# Krippendorff 2011, section C: four observers, twelve units, missing data
OBSERVED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ]
)


def judged_of(table: np.ndarray) -> Judged:
    """A table of raters × units, NaN where a rater did not judge."""
    unit, rater = np.nonzero(~np.isnan(table.T))
    return Judged(unit, rater, table[rater, unit], cluster=unit)


def noisy_table(rng: np.random.Generator, raters: int = 7, units: int = 60) -> np.ndarray:
    """Ratings that agree somewhat, two thirds of them missing."""
    latent = rng.normal(size=units)
    seen = latent + rng.normal(size=(raters, units)) + rng.normal(size=(raters, 1)) / 2
    stars = np.digitize(seen, [-1.5, -0.5, 0.5, 1.5]) + 1.0
    return np.where(rng.random(stars.shape) < 0.67, np.nan, stars)


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_what_krippendorff_worked_out_by_hand(level, alpha):
    found = measure_agreement(judged_of(OBSERVED), level)

    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(alpha, abs=5e-4)
    assert (found.units, found.judgements, found.raters) == (11, 40, 4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_an_independent_library(level, seed):
    table = noisy_table(np.random.default_rng(seed))

    found = measure_agreement(judged_of(table), level, resamples=20)

    expected = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert found.alpha is not None
    assert found.alpha.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_a_resample_is_what_the_library_says_of_the_resampled_units(level):
    rng = np.random.default_rng(5)
    table = noisy_table(rng, units=40)
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    count = table.shape[1]
    draws = np.random.default_rng(0).integers(count, size=(30, count))

    found = measure_agreement(judged_of(table), level, resamples=30)

    alphas = [
        krippendorff.alpha(reliability_data=table[:, draw], level_of_measurement=level)
        for draw in draws
    ]
    assert found.alpha is not None
    assert found.alpha.low == pytest.approx(np.quantile(alphas, 0.025), abs=1e-9)
    assert found.alpha.high == pytest.approx(np.quantile(alphas, 0.975), abs=1e-9)


def test_the_interval_holds_the_true_alpha_nineteen_times_of_twenty():
    rng = np.random.default_rng(11)
    population = measure_agreement(judged_of(noisy_table(rng, 7, 20_000)), "ordinal", resamples=1)
    assert population.alpha is not None
    truth, held = population.alpha.value, 0

    for _ in range(100):
        found = measure_agreement(
            judged_of(noisy_table(rng, 7, 150)), "ordinal", resamples=100
        ).alpha
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high

    assert 0.80 <= held / 100 <= 0.99


def test_percent_agreement_counts_every_judgement_once():
    judged = as_judged([1, 1, 1, 2, 2], ["a", "b", "c", "a", "b"], [1, 1, 2, 3, 3])

    found = measure_agreement(judged, "nominal")

    # unit 1: halves of the others agree with a and b, none with c; unit 2: all
    assert found.percent is not None
    assert found.percent.value == pytest.approx((0.5 + 0.5 + 0 + 1 + 1) / 5)


def test_units_judged_once_tell_nothing():
    found = measure_agreement(as_judged([1, 2], ["a", "b"], [1, 2]), "nominal")

    assert (found.units, found.alpha, found.percent) == (0, None, None)


def test_alpha_is_unknown_when_everybody_always_says_the_same():
    found = measure_agreement(as_judged([1, 1, 2, 2], ["a", "b"] * 2, [4, 4, 4, 4]), "ordinal")

    assert found.alpha is None
    assert found.percent is not None
    assert found.percent.value == 1.0


def test_resamples_in_which_all_ratings_are_the_same_tell_nothing():
    ratings = np.full(24, 2.2)
    ratings[11] = 4.6

    found = measure_agreement(as_judged([*range(12)] * 2, [0] * 12 + [1] * 12, ratings), "interval")

    assert found.alpha is not None
    assert found.alpha.high == pytest.approx(0.0, abs=1e-9)


def test_few_clusters_get_no_interval():
    units = list(range(12)) * 2
    judged = as_judged(
        units, ["a"] * 12 + ["b"] * 12, [0, 1] * 12, clusters=[unit % 3 for unit in units]
    )

    found = measure_agreement(judged, "nominal").alpha

    assert found is not None
    assert (found.value, found.low) == (1.0, None)


def test_of_one_raters_two_judgements_the_last_counts():
    judged = as_judged(["u", "u", "u"], ["a", "b", "a"], [1, 5, 4])

    assert sorted(zip(judged.rater.tolist(), judged.value.tolist(), strict=True)) == [
        (0, 4.0),
        (1, 5.0),
    ]


@pytest.mark.parametrize(
    ("weighting", "named"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")]
)
@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_an_independent_library_for_every_two_raters(weighting, named, seed):
    table = noisy_table(np.random.default_rng(seed))

    found = pairwise_kappas(judged_of(table), weighting, least_units=3)

    assert len(found.kappa) >= 15
    for first, second, units, kappa in zip(
        found.first, found.second, found.units, found.kappa, strict=True
    ):
        both = table[[first, second]][:, ~np.isnan(table[[first, second]]).any(axis=0)]
        assert units == both.shape[1]
        expected = cohen_kappa_score(*both.astype(int), weights=named, labels=[1, 2, 3, 4, 5])
        assert kappa == pytest.approx(expected, abs=1e-9)


def test_the_mean_kappa_weighs_pairs_by_their_units():
    found = pairwise_kappas(judged_of(noisy_table(np.random.default_rng(1))), "linear")

    assert found.mean == pytest.approx(np.average(found.kappa, weights=found.units))


@pytest.mark.parametrize("value", [1.0, 1.7, 2.2, 4.9])
@pytest.mark.parametrize("units", [3, 7, 11])
def test_two_who_always_say_the_same_number_have_no_kappa(value, units):
    judged = as_judged([*range(units)] * 2, [0] * units + [1] * units, [value] * 2 * units)

    assert pairwise_kappas(judged, "quadratic").mean is None


def test_raters_who_share_nothing_have_no_kappa():
    found = pairwise_kappas(as_judged([1, 2, 3], ["a", "b", "c"], [1, 2, 3]), "none")

    assert (len(found.kappa), found.mean) == (0, None)
