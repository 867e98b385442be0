"""Reliability of raters: planted raters are found, and their weights repair a training set."""

from itertools import product

import numpy as np
import pytest

from services.trainer.datasets import Evidence
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RewardDataset,
    TiedPair,
)
from services.trainer.raters.confusions import confusions_of
from services.trainer.raters.dawid_skene import fit_confusions
from services.trainer.raters.judgements import collect_comparisons, opinions
from services.trainer.raters.noisy_bradley_terry import Comparisons, fit_reliability
from services.trainer.raters.weights import LEAST_WEIGHT, cap_shares, rater_weights, weigh_raters
from shared.agreement.judged import Judged
from shared.ml.scorer import Pair

RANDOM, ADVERSARY, HONEST = 0.5, 0.0, 1.0


def planted(
    rng: np.random.Generator,
    *,
    pairs: int = 1500,
    per_pair: int = 3,
    model_noise: float | None = None,
) -> tuple[Comparisons, np.ndarray]:
    """Comparisons by 40 raters, and each one's p: 20 % random, 5 % adversarial."""
    p = np.repeat([RANDOM, ADVERSARY, HONEST], [8, 2, 30])
    rewards = 1.5 * rng.normal(size=2 * pairs)
    first = 2 * np.repeat(np.arange(pairs), per_pair)
    rater = rng.integers(len(p), size=len(first))
    is_better = rng.random(len(first)) < 1 / (1 + np.exp(rewards[first + 1] - rewards[first]))
    follows = rng.random(len(first)) < p[rater]
    winner = np.where(is_better == follows, first, first + 1)
    loser = np.where(is_better == follows, first + 1, first)
    prior = np.zeros(len(rewards))
    if model_noise is not None:
        prior = 0.5 * rewards + model_noise * rng.normal(size=len(rewards))
    return Comparisons(winner, loser, rater, prior, len(p)), p


@pytest.mark.parametrize("seed", range(3))
def test_random_and_adversarial_raters_are_found_by_what_others_say(seed):
    compared, p = planted(np.random.default_rng(seed), pairs=4000)

    found = fit_reliability(compared)

    assert found.mean[p == HONEST].min() > found.mean[p == RANDOM].max()
    assert found.mean[p == HONEST].mean() > 0.9
    assert 0.4 < found.mean[p == RANDOM].mean() < 0.6
    assert found.mean[p == ADVERSARY].max() < 0.1


def test_a_model_tells_raters_apart_who_share_no_response():
    compared, p = planted(np.random.default_rng(0), pairs=4000, per_pair=1, model_noise=0.7)

    found = fit_reliability(compared)

    assert found.mean[p == HONEST].min() > found.mean[p == RANDOM].max()
    assert found.mean[p == RANDOM].min() > found.mean[p == ADVERSARY].max()


def test_without_a_model_raters_who_share_no_response_all_stay_where_they_began():
    compared, _ = planted(np.random.default_rng(0), per_pair=1)

    found = fit_reliability(compared)

    assert found.mean == pytest.approx(np.full(40, 0.8), abs=1e-3)


def test_a_rater_with_few_judgements_is_taken_for_an_average_one():
    compared, p = planted(np.random.default_rng(0))
    one = np.flatnonzero(compared.rater == np.flatnonzero(p == ADVERSARY)[0])[:1]
    newcomer = Comparisons(
        np.append(compared.winner, compared.winner[one]),
        np.append(compared.loser, compared.loser[one]),
        np.append(compared.rater, 40),
        compared.prior,
        41,
    )

    found = fit_reliability(newcomer)

    width = found.quantile(0.95) - found.quantile(0.05)
    assert abs(found.mean[40] - found.mean[:40].mean()) < 0.3
    assert width[40] > 2 * np.median(width[:40])


def test_more_comparisons_narrow_the_interval():
    few, p = planted(np.random.default_rng(0), pairs=500)
    many, _ = planted(np.random.default_rng(0), pairs=4000)

    narrow, wide = (
        (fit.quantile(0.95) - fit.quantile(0.05))[p == RANDOM].mean()
        for fit in (fit_reliability(many), fit_reliability(few))
    )

    assert narrow < 0.6 * wide


def test_dawid_skene_truths_are_those_of_adding_up_every_possible_truth():
    rng = np.random.default_rng(3)
    said = rng.integers(2, size=(6, 3))
    judged = Judged(
        *(axis.ravel() for axis in np.indices((6, 3))), said.ravel() * 1.0, np.zeros(18)
    )

    found = fit_confusions(judged, pull=0.0)

    total, marginal = 0.0, np.zeros((6, 2))
    for truth in product((0, 1), repeat=6):
        joint = np.prod([found.shares[t] for t in truth]) * np.prod([
            found.confusion[k, truth[u], said[u, k]] for u in range(6) for k in range(3)
        ])  # fmt: skip
        total += joint
        marginal[np.arange(6), truth] += joint
    assert found.loglik == pytest.approx(np.log(total), abs=1e-6)
    assert found.truth == pytest.approx(marginal / total, abs=1e-6)


def test_dawid_skene_ends_where_confusions_are_the_expected_shares():
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=300)
    rater, unit = np.indices((5, 300)).reshape(2, -1)
    said = np.where(rng.random(1500) < 0.7, truth[unit], rng.integers(3, size=1500))

    found = fit_confusions(Judged(unit, rater, said * 1.0, unit), pull=0.0)

    for k, true, seen in product(range(5), range(3), range(3)):
        theirs = rater == k
        weight = found.truth[unit[theirs], true]
        expected = weight[said[theirs] == seen].sum() / weight.sum()
        assert found.confusion[k, true, seen] == pytest.approx(expected, abs=1e-3)
    assert (found.truth.argmax(axis=1) == truth).mean() > 0.9


def test_dawid_skene_tells_careful_random_and_contrary_raters_apart():
    rng = np.random.default_rng(2)
    truth = rng.integers(2, size=400)
    rater, unit = np.indices((6, 400)).reshape(2, -1)
    right = np.array([0.9, 0.9, 0.85, 0.9, 0.5, 0.1])[rater]
    said = np.where(rng.random(2400) < right, truth[unit], 1 - truth[unit])

    informed = fit_confusions(Judged(unit, rater, said * 1.0, unit)).informedness

    assert informed[:4] == pytest.approx([0.8, 0.8, 0.7, 0.8], abs=0.12)
    assert informed[4] == pytest.approx(0.0, abs=0.12)
    assert informed[5] == pytest.approx(-0.8, abs=0.12)


def test_confusions_name_what_a_rater_never_says():
    rng = np.random.default_rng(5)
    is_good = rng.random(200) < 0.5
    thumbs = {
        **{name: is_good ^ (rng.random(200) < 0.1) for name in ("a", "b", "c")},
        "kind": np.ones(200, dtype=bool),
    }
    rated = [
        RatedResponse(f"p {at}", "r", 4.0 if theirs[at] else 2.0, f"{at:02x}", f"{rater} {at}",
                      scale="thumbs", rater=rater)
        for rater, theirs in thumbs.items() for at in range(200)
    ]  # fmt: skip
    rated.append(RatedResponse("alone", "r", 2.0, "ff", "row", scale="thumbs", rater="hermit"))

    found = {one.rater: one for one in confusions_of(opinions(Evidence(rated=rated)), "thumbs")}

    assert set(found) == set(thumbs)
    assert found["kind"].says["down"]["up"] > 0.9
    assert found["kind"].informedness == pytest.approx(0.0, abs=0.1)
    assert found["a"].says["down"]["down"] == pytest.approx(0.9, abs=0.07)
    assert found["a"].informedness == pytest.approx(0.8, abs=0.12)


def test_nobody_confuses_anything_where_all_say_the_same():
    alike = [
        RatedResponse(f"p {at}", "r", 4.0, f"{at:02x}", f"{rater} {at}", rater=rater)
        for at in range(9) for rater in "ab"
    ]  # fmt: skip

    assert confusions_of(opinions(Evidence(rated=alike)), "stars") == []
    assert confusions_of([], "thumbs") == []


def choice(at: int, rater: str | None, *, is_right: bool) -> PreferencePair:
    sides = (f"good {at}", f"bad {at}")
    chosen, rejected = sides if is_right else sides[::-1]
    return PreferencePair(f"prompt {at}", chosen, rejected, f"{at:02x}", rater=rater,
                          row_ids=(f"{rater} {at}",))  # fmt: skip


def crowd(prompts: int = 60) -> list[PreferencePair]:
    """Four raters who agree nine times of ten, and one who says the opposite."""
    rng = np.random.default_rng(0)
    return [
        choice(at, rater, is_right=(rng.random() < 0.9) != (rater == "contrary"))
        for at in range(prompts)
        for rater in ("a", "b", "c", "d", "contrary")
    ]


def test_weights_lie_above_0_and_at_most_1_and_next_to_nothing_is_left_of_the_contrary():
    weights = rater_weights(Evidence(pairs=crowd()))

    assert set(weights) == {"a", "b", "c", "d", "contrary"}
    assert weights["contrary"] == LEAST_WEIGHT
    assert all(0.8 < weights[rater] <= 1 for rater in "abcd")


def test_only_the_train_side_of_a_dataset_decides():
    held_out = [choice(at, "late", is_right=False) for at in range(60)]
    dataset = RewardDataset(crowd(), held_out, [], [], "hash")

    assert set(rater_weights(dataset)) == {"a", "b", "c", "d", "contrary"}


def test_judgements_of_unknown_raters_are_evidence_but_get_no_weight():
    anonymous = [choice(at, None, is_right=True) for at in range(60) for _ in range(3)]
    contrary = [choice(at, "contrary", is_right=False) for at in range(60)]

    weights = rater_weights(Evidence(pairs=anonymous + contrary), largest_share=1.0)

    assert weights == {"contrary": LEAST_WEIGHT}


def test_raters_of_whom_nothing_can_be_known_all_count_1():
    alone = [choice(at, f"rater {at % 4}", is_right=at % 3 > 0) for at in range(60)]

    assert set(rater_weights(Evidence(pairs=alone)).values()) == {1.0}


def test_a_rater_who_rates_alone_does_not_confirm_himself():
    rng = np.random.default_rng(7)
    rated = [
        RatedResponse(f"prompt {rater} {at // 2}", f"{at}", float(rng.integers(1, 6)), f"{at:02x}",
                      f"{rater} {at}", rater=f"rater {rater}")
        for rater in range(6) for at in range(60)
    ]  # fmt: skip

    compared, _ = collect_comparisons(Evidence(rated=rated))
    found = fit_reliability(compared)

    assert found.mean == pytest.approx(np.full(6, 0.8), abs=1e-3)


def test_what_a_rater_prefers_again_and_again_does_not_speak_for_him():
    again = Comparisons(
        winner=np.zeros(40, dtype=np.int64), loser=np.arange(1, 41),
        rater=np.zeros(40, dtype=np.int64), prior=np.zeros(41), raters=1,
    )  # fmt: skip

    assert fit_reliability(again).mean == pytest.approx([0.8], abs=1e-3)


def test_of_raters_with_dice_hardly_anybody_is_contrary_beyond_doubt():
    rng = np.random.default_rng(8)
    latent, contrary = rng.normal(size=120), 0
    for _ in range(5):
        rated = [
            RatedResponse(
                f"prompt {at // 4}", f"{at}", 1.0 + np.digitize(seen, [-1.5, -0.5, 0.5, 1.5]),
                f"{at // 4:02x}", f"{rater} {at}", rater=f"{rater}",
            )
            for rater in range(12) for at in range(120)
            for seen in [rng.normal() if rater >= 6 else latent[at] + rng.normal() / 2]
        ]  # fmt: skip
        compared, raters = collect_comparisons(Evidence(rated=rated))
        dice = np.array([int(rater) >= 6 for rater in raters])
        contrary += (fit_reliability(compared).quantile(0.975)[dice] < 0.5).sum()

    assert contrary <= 3  # of 30, one is to be expected


def test_a_models_rewards_tell_who_is_contrary_among_raters_who_share_nothing():
    alone = [choice(at, f"rater {at % 4}", is_right=at % 4 > 0) for at in range(120)]
    rewards = {
        side: sign for pair in alone for side in pair.sides
        for sign in [1.5 if side.response.startswith("good") else -1.5]
    }  # fmt: skip

    weights = rater_weights(Evidence(pairs=alone), rewards=rewards)

    assert weights["rater 0"] == LEAST_WEIGHT
    assert min(weights[f"rater {at}"] for at in (1, 2, 3)) > 0.9


def test_a_strict_rater_counts_as_much_as_a_mild_one():
    rng = np.random.default_rng(4)
    latent = rng.normal(size=80)
    shift = {"mild": -1.0, "strict": 1.0, "middle": 0.0, "dice": 0.0}
    rated = [
        RatedResponse(
            f"prompt {at}", "r", 1.0 + np.digitize(seen - shift[rater], [-1.5, -0.5, 0.5, 1.5]),
            f"{at:02x}", f"{rater} {at}", rater=rater,
        )
        for at in range(80)
        for rater in shift
        for seen in [rng.normal() if rater == "dice" else latent[at] + rng.normal() / 3]
    ]  # fmt: skip

    weights = rater_weights(Evidence(rated=rated))

    assert weights["dice"] < 0.35
    assert min(weights["mild"], weights["strict"], weights["middle"]) > 0.9


def test_pairs_derived_from_ratings_and_rankings_are_not_counted_twice():
    ranked = RankedResponses("p", ("x", "y", "z"), "00", "row", rater="a")
    derived = [
        PreferencePair("p", "x", "y", "00", source="ranking", rater="a", row_ids=("row",)),
        PreferencePair("p", "x", "y", "00", source="rating", rater="a", row_ids=("r1", "r2")),
    ]

    compared, raters = collect_comparisons(Evidence(pairs=derived, rankings=[ranked]))

    assert (len(compared.winner), raters) == (2, ["a"])


def test_a_choice_is_the_same_opinion_whichever_side_is_named_first():
    tie = TiedPair("p", ("y", "x"), "tie", "00", "row 3", rater="c")
    pairs = [
        PreferencePair("p", "x", "y", "00", rater="a", row_ids=("row 1",)),
        PreferencePair("p", "y", "x", "00", rater="b", row_ids=("row 2",)),
    ]

    found = opinions(Evidence(pairs=pairs, ties=[tie]))

    assert len({one.unit for one in found}) == 1
    assert sorted(one.value for one in found) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("totals", "share", "largest"),
    [([100, 1, 1, 1], 0.5, 0.5), ([100, 90, 1, 1, 1], 0.3, 0.3), ([6, 4], 0.5, 0.6), ([5], 0.1, 1)],
)
def test_no_rater_makes_up_more_than_the_share_unless_there_are_too_few(totals, share, largest):
    kept = cap_shares(np.array(totals, dtype=float), share) * totals

    assert kept.max() / kept.sum() == pytest.approx(largest)


def test_judgements_of_unknown_raters_count_when_shares_are_capped():
    known = [choice(at, "busy", is_right=True) for at in range(30)]
    known.append(choice(40, "rare", is_right=True))
    anonymous = [choice(at, None, is_right=True) for at in range(100, 200)]

    weights = rater_weights(Evidence(pairs=known + anonymous), largest_share=0.2)

    assert weights == {"busy": 1.0, "rare": 1.0}  # two may always have three quarters each


def test_raters_under_the_cap_keep_everything():
    assert cap_shares(np.array([100.0, 3.0, 2.0, 1.0]), 0.5)[1:].tolist() == [1.0, 1.0, 1.0]


def test_a_capped_rater_is_counted_in_the_metrics():
    much = [choice(at, "busy", is_right=True) for at in range(90)]
    little = [choice(at, rater, is_right=True) for at in range(10) for rater in "abc"]

    weighed = weigh_raters(Evidence(pairs=much + little), largest_share=0.5)

    assert weighed.metrics["raters"] == 4
    assert weighed.metrics["raters_capped"] == 1
    assert weighed.weights["busy"] == pytest.approx(1 / 3, abs=0.01)
    assert weighed.metrics["judgements_kept"] == pytest.approx(0.5, abs=0.02)


def test_rewards_are_looked_up_by_prompt_and_response():
    compared, _ = collect_comparisons(
        Evidence(pairs=[choice(1, "a", is_right=True)]), {Pair("prompt 1", "good 1"): 2.0}
    )

    assert compared.prior[compared.winner].tolist() == [2.0]
    assert compared.prior[compared.loser].tolist() == [0.0]
