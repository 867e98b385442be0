"""The joint fit on simulated people whose rewards, cuts and ties are known."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from services.trainer.evidence import Items, collect_items
from services.trainer.examples import PreferencePair, RankedResponses, RatedResponse, TiedPair
from services.trainer.heads import FittedWeights, fit_weights
from services.trainer.likelihood.evidence import Floats, Indices
from services.trainer.likelihood.fitting import LinearLikelihood, Point
from services.trainer.likelihood.nuisance import lay_out
from services.trainer.likelihood.terms import rao_kupper_tie
from services.trainer.likelihood.thresholds import (
    Thresholds,
    combine,
    expected_rating,
    predicted_ratings,
    unit_means,
)

CUTS = np.array([-2.0, -0.7, 0.5, 1.8])


def places(items: Items) -> Indices:
    """Of each item the row of its features; responses are called after it."""
    return np.array([int(item.response) for item in items.pairs])


def fit(features: Floats, items: Items) -> FittedWeights:
    return fit_weights(
        features[places(items)], items.evidence, items.groups, grid=(0.01, 0.1, 1.0), seed=0
    )


def preferred(better: int, worse: int, rater: str | None = None) -> PreferencePair:
    """A choice between two neighbours, whose prompt is theirs alone."""
    group = f"g{min(better, worse)}"
    return PreferencePair("p", f"{better}", f"{worse}", group, rater=rater)


def said_of_everything() -> Items:
    """Every kind of judgement, of twelve responses to three prompts."""
    ranked = RankedResponses("p1", ("4", "5", "6"), "g1", "t1")
    return collect_items(
        [
            PreferencePair("p0", "0", "1", "g0", weight=2.0, row_ids=("a",)),
            PreferencePair("p0", "1", "2", "g0", source="correction", row_ids=("b",)),
            PreferencePair("p2", "8", "9", "g2", row_ids=("c",)),
        ],
        [
            RatedResponse("p0", "0", 5, "g0", "r0", rater="ann"),
            RatedResponse("p0", "3", 1, "g0", "r1", rater="bob"),
            RatedResponse("p1", "7", 3, "g1", "r2"),
            RatedResponse("p2", "10", 2.6, "g2", "r3", scale="unit", rater="ann"),
            RatedResponse("p2", "11", 4, "g2", "r4", scale="thumbs"),
        ],
        [TiedPair("p2", ("8", "10"), "tie", "g2", "e")],
        [ranked, RankedResponses("p0", ("3", "1"), "g0", "t2", rater="ann")],
        ratings_as="levels",
    )


@pytest.mark.parametrize("features_count", [3, 40])
def test_the_gradient_of_everything_at_once_is_exact(features_count: int) -> None:
    draw = np.random.default_rng(1)
    items = said_of_everything()
    nuisance = lay_out(items.evidence)
    likelihood = LinearLikelihood(
        draw.normal(size=(len(items.pairs), features_count)), items.evidence, nuisance
    )

    def cost(at: Floats) -> tuple[float, Floats]:
        return likelihood.cost(Point(at[:features_count], at[features_count:]))

    at = np.append(draw.normal(size=features_count), nuisance.start + 0.1)
    assert check_grad(lambda x: cost(x)[0], lambda x: cost(x)[1], at) < 1e-4


def test_comparisons_alone_are_a_logistic_regression_on_differences() -> None:
    draw = np.random.default_rng(2)
    features = draw.normal(size=(200, 5))
    items = collect_items([preferred(at, at + 1) for at in range(0, 200, 2)], [])
    differences = features[0::2] - features[1::2]
    rows = np.concatenate([differences, -differences])
    model = LogisticRegression(C=0.1 / 2, fit_intercept=False, tol=1e-8)
    model.fit(rows, np.repeat([1, 0], 100))

    found = fit_weights(features, items.evidence, items.groups, grid=(0.1,), seed=0)

    assert found.weights == pytest.approx(model.coef_[0], abs=1e-3)


def test_cuts_of_raters_are_recovered_from_5000_ratings() -> None:
    draw = np.random.default_rng(3)
    features = draw.normal(size=(5000, 10))
    rewards = features @ draw.normal(scale=0.5, size=10)
    shifts = draw.normal(scale=0.8, size=10)
    levels = (
        rewards[:, None] + draw.logistic(size=(5000, 1)) > CUTS + np.resize(shifts, 5000)[:, None]
    )
    rated = [
        RatedResponse(
            f"p{at // 2}", f"{at}", 1.0 + said.sum(), f"g{at // 2}", f"{at}", rater=f"{at % 10}"
        )
        for at, said in enumerate(levels)
    ]
    items = collect_items([], rated, ratings_as="levels")

    found = fit(features, items)
    shares, thresholds = combine(found.rewards[:, None], items.evidence)

    assert shares == pytest.approx([1.0], abs=0.1)
    assert thresholds.cuts["stars"] == pytest.approx(CUTS + shifts.mean(), abs=0.2)
    own = thresholds.raters["stars"]
    for rater, shift in enumerate(shifts):
        assert own[f"{rater}"] == pytest.approx(CUTS + shift, abs=0.4)
    errors = np.array([own[f"{rater}"] - CUTS - shift for rater, shift in enumerate(shifts)])
    assert np.abs(errors).mean() < 0.12


def test_raters_with_one_rating_each_do_not_stretch_the_reward() -> None:
    draw = np.random.default_rng(8)
    features = draw.normal(size=(1500, 5))
    weights = draw.normal(scale=0.5, size=5)
    levels = (features @ weights + draw.logistic(size=1500))[:, None] > CUTS
    rated = [
        RatedResponse("p", f"{at}", 1.0 + said.sum(), f"g{at}", f"{at}", rater=f"{at}")
        for at, said in enumerate(levels)
    ]
    items = collect_items([], rated, ratings_as="levels")

    found = fit(features, items)
    shares, _ = combine(found.rewards[:, None], items.evidence)

    stretched = np.linalg.norm(shares[0] * found.weights) / np.linalg.norm(weights)
    assert 0.8 < stretched < 1.4


def test_a_rater_of_few_words_is_thought_to_rate_as_all_do() -> None:
    rated = [
        RatedResponse("p", f"{at}", 1.0 + at % 5, f"g{at}", f"{at}", rater="many")
        for at in range(200)
    ]
    rated.append(RatedResponse("p", "200", 5, "g200", "200", rater="few"))
    items = collect_items([], rated, ratings_as="levels")

    _, thresholds = combine(np.zeros((201, 1)), items.evidence)

    own, common = thresholds.raters["stars"]["few"], thresholds.cuts["stars"]
    assert np.abs(own - common).max() < 1.0


def test_the_share_of_ties_is_predicted_on_comparisons_not_seen() -> None:
    draw, eta = np.random.default_rng(4), 0.8
    features = draw.normal(size=(24_000, 6))
    margins = (features[0::2] - features[1::2]) @ draw.normal(scale=0.5, size=6)
    uniform = draw.uniform(size=12_000)
    wins = 1.0 / (1.0 + np.exp(eta - margins))
    is_tie = (uniform > wins) & (uniform < wins + np.exp(-rao_kupper_tie(margins, eta)[0]))
    pairs, ties = [], []
    for at in range(6000):
        if is_tie[at]:
            ties.append(TiedPair("p", (f"{2 * at}", f"{2 * at + 1}"), "tie", f"t{at}", f"{at}"))
        else:
            sides = (2 * at, 2 * at + 1) if uniform[at] < wins[at] else (2 * at + 1, 2 * at)
            pairs.append(preferred(*sides))
    items = collect_items(pairs, [], ties)

    found = fit(features, items)
    shares, thresholds = combine(found.rewards[:, None], items.evidence)
    held = (features[12_000::2] - features[12_001::2]) @ found.weights * shares[0]

    assert thresholds.eta == pytest.approx(eta, abs=0.1)
    assert thresholds.eta is not None
    predicted = np.exp(-rao_kupper_tie(held, thresholds.eta)[0])
    assert predicted.mean() == pytest.approx(is_tie[6000:].mean(), abs=0.02)
    is_close = np.abs(held) < np.median(np.abs(held))
    assert predicted[is_close].mean() == pytest.approx(is_tie[6000:][is_close].mean(), abs=0.04)


def test_rankings_order_candidates_nobody_ranked() -> None:
    draw = np.random.default_rng(5)
    features = draw.normal(size=(1200, 6))
    rewards = features @ draw.normal(scale=0.8, size=6)
    utilities = (rewards + draw.gumbel(size=1200)).reshape(300, 4)
    rankings = [
        RankedResponses(
            "p", tuple(f"{4 * at + place}" for place in np.argsort(-of_four)), f"g{at}", f"{at}"
        )
        for at, of_four in enumerate(utilities)
    ]
    items = collect_items([], [], (), rankings)

    found = fit(features, items)
    others = draw.normal(size=(2000, 6))

    truth = others @ np.linalg.lstsq(features, rewards, rcond=None)[0]
    right = (others[0::2] - others[1::2]) @ found.weights * (truth[0::2] - truth[1::2]) > 0
    assert right.mean() > 0.9
    assert found.loss < np.log(24.0) - 0.3  # of one of 24 orders by chance


def test_a_distrusted_rater_moves_the_reward_less() -> None:
    draw = np.random.default_rng(6)
    features = draw.normal(size=(800, 1))
    pairs = []
    for at in range(400):
        first, second = (2 * at, 2 * at + 1)
        is_better = features[first, 0] > features[second, 0]
        is_right = at % 2 == 0  # the other rater always prefers the worse
        sides = (first, second) if is_better == is_right else (second, first)
        pairs.append(preferred(*sides, rater="ann" if is_right else "eve"))

    def weight(trust: float) -> float:
        items = collect_items(pairs, [], rater_weights={"eve": trust})
        return float(fit(features, items).weights[0])

    assert abs(weight(1.0)) < 0.2
    assert weight(0.01) > weight(0.3) > 0.2


def test_a_model_of_noise_gets_less_of_a_share_than_a_good_one() -> None:
    draw = np.random.default_rng(7)
    good, noise = draw.normal(size=400), draw.normal(size=400)
    pairs = [
        preferred(at, at + 1) if good[at] > good[at + 1] else preferred(at + 1, at)
        for at in range(0, 400, 2)
    ]
    items = collect_items(pairs, [])
    order = places(items)

    shares, _ = combine(np.stack([good, noise], axis=1)[order], items.evidence)

    assert shares[0] > 1.5
    assert 0 <= shares[1] < 0.5


def test_models_that_are_worse_than_chance_still_give_a_reward() -> None:
    pairs = [preferred(at, at + 1) for at in range(0, 400, 2)]
    items = collect_items(pairs, [])

    shares, _ = combine(np.tile([-5.0, 5.0], 200)[:, None], items.evidence)

    assert shares.tolist() == [1.0]


def test_the_rating_to_expect_is_the_mean_of_the_levels() -> None:
    rewards = np.array([0.0, 100.0, -100.0])

    stars = expected_rating(rewards, np.array([-1.0, -1.0 + 1e-9, 1.0, 1.0 + 1e-9]), "stars")
    unit = expected_rating(rewards, np.array([-1.0, 0.0, 1.0]), "unit")

    assert stars == pytest.approx([0.5, 1.0, 0.0])  # cuts lie evenly around the reward
    assert unit == pytest.approx([0.5, 0.875, 0.125])  # middles of the outer quarters


def test_ratings_are_predicted_by_the_cuts_of_their_scale_and_else_by_what_is_given() -> None:
    report = {"unit_cut_1": -1.0, "unit_cut_2": 0.0, "unit_cut_3": 1.0, "thumbs_cut_1": 0.0}

    found = predicted_ratings(
        np.array([0.0, 100.0, 0.0, 0.0]),
        ["unit", "unit", "stars", "thumbs"],
        report,
        np.full(4, 0.3),
    )

    assert found == pytest.approx([0.5, 0.875, 0.3, 0.3])


def test_a_quarter_is_worth_what_people_say_in_it() -> None:
    said = [0.0, 0.0, 0.5, 0.5, 1.0, 0.9]
    rated = [
        RatedResponse("p", f"{at}", 1 + 4 * share, "g", f"{at}", scale="unit")
        for at, share in enumerate(said)
    ]
    cuts = {"unit_cut_1": -1.0, "unit_cut_2": 0.0, "unit_cut_3": 1.0}

    means = unit_means([*rated, RatedResponse("p", "stars", 1.0, "g", "stars")])
    found = predicted_ratings(
        np.array([100.0, -100.0]), ["unit"] * 2, cuts | means, np.full(2, 0.3)
    )

    assert list(means.values()) == pytest.approx([0.0, 0.375, 0.5, 0.95])
    assert found == pytest.approx([0.95, 0.0])


def test_the_cuts_of_a_model_are_among_its_metrics() -> None:
    thresholds = Thresholds({"unit": np.array([-1.0, 0.0, 1.0])}, {}, eta=0.4)

    assert thresholds.report() == {
        "unit_cut_1": -1.0, "unit_cut_2": 0.0, "unit_cut_3": 1.0, "tie_eta": 0.4,
    }  # fmt: skip
