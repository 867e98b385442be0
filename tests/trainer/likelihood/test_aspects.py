import numpy as np
import pytest

from services.trainer.aspects import fit_aspects
from services.trainer.evidence import collect_items
from services.trainer.examples import RatedResponse
from shared.ml.head import Embedded, RewardHead, dense_features


def rated(at: int, **aspects: float) -> RatedResponse:
    return RatedResponse("p", f"{at}", 3, f"g{at}", f"{at}", rater=f"r{at % 3}", aspects=aspects)


def test_each_aspect_predicts_its_own_ratings_on_the_scale_of_0_to_1() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(400, 8)).astype(np.float32)
    wanted = {"accuracy": features[:, 0], "tone": features[:, 1] - 0.5}
    share = {name: 1 / (1 + np.exp(-logit)) for name, logit in wanted.items()}
    items = collect_items(
        [],
        [
            rated(at, **{name: float(round(5 * values[at])) for name, values in share.items()})
            for at in range(400)
        ],
    )

    aspects, report = fit_aspects(features.astype(float), items, {"response": 8}, seed=0)

    embedded = Embedded(features, features, np.ones(400, dtype=np.int64), [""] * 400)
    head = RewardHead(("response",), np.zeros(8), 0.0, aspects=aspects)
    found = head.aspect_rewards(dense_features(head.features, embedded))
    for name, values in share.items():
        predicted = 1 / (1 + np.exp(-found[name]))
        assert np.abs(predicted - values).mean() < 0.05
        assert report[f"aspect_{name}_responses"] == 400
        assert float(report[f"aspect_{name}_correlation"] or 0) > 0.9
        assert float(report[f"aspect_{name}_mse"] or 1) < 0.02


def test_responses_nobody_rated_on_an_aspect_do_not_shift_it() -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(400, 4))
    is_rated = features[:, 0] > 0
    share = 1 / (1 + np.exp(-2 * features[:, 0]))
    items = collect_items(
        [],
        [
            rated(at, **({"tone": float(round(1 + 4 * share[at]))} if is_rated[at] else {}))
            for at in range(400)
        ],
    )

    aspects, _ = fit_aspects(features, items, {"response": 4}, seed=0)

    logits = features @ aspects["tone"][:-1] + aspects["tone"][-1]
    predicted = 1 / (1 + np.exp(-logits[is_rated]))
    assert predicted.mean() == pytest.approx(share[is_rated].mean(), abs=0.02)


def test_an_aspect_that_few_responses_were_rated_on_gets_no_head() -> None:
    items = collect_items([], [rated(at, **({"tone": 3} if at < 49 else {})) for at in range(60)])

    aspects, report = fit_aspects(np.eye(60), items, {"response": 60}, seed=0)

    assert aspects == {}
    assert report == {}


def test_an_aspect_rated_alike_everywhere_is_that_rating() -> None:
    items = collect_items([], [rated(at, tone=4) for at in range(60)])

    aspects, report = fit_aspects(np.eye(60), items, {"response": 60}, seed=0)

    expected = 1 / (1 + np.exp(-(np.eye(60) @ aspects["tone"][:-1] + aspects["tone"][-1])))
    assert expected == pytest.approx(np.full(60, 0.75), abs=0.03)  # 4 of 1 to 5
    assert (
        report["aspect_tone_correlation"] is None
        or abs(float(report["aspect_tone_correlation"])) <= 1
    )
