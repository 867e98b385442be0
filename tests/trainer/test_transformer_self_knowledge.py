"""What a transformer knows of its own scores: chances, and which texts are strange to it."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from support.tiny_bert import save_tiny_bert

from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.recipes.transformer_reward import TransformerParams, train
from services.trainer.trained import TrainedReward
from services.trainer.transformer.judgements import Judgement, Kind
from services.trainer.transformer.self_knowledge import calibrate
from shared.contracts.audit import AuditReport
from shared.errors import ArtifactError
from shared.ml.artifact import load_scorer
from shared.ml.head import probability
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"


def trained_on(dataset: RewardDataset, folder: Path, **given: object) -> TrainedReward:
    params = TransformerParams(
        base_model=str(save_tiny_bert(folder / "tiny")), epochs=1, max_tokens=24, min_rated=10,
        evaluations_per_epoch=1, **given,
    )  # fmt: skip
    return train(
        dataset, params, output=folder / "model", secret=SECRET, progress=lambda *_: None,
        code_version="test",
    )  # fmt: skip


def test_rankings_alone_are_enough_tocalibrate() -> None:
    ranking = tuple(Pair("p", text) for text in ("best", "middle", "worst"))
    held = [Judgement(Kind.RANKING, ranking, "g")]

    calibration = calibrate(dict(zip(ranking, (2.0, 1.0, 0.0), strict=True)), held, good_rating=4)

    chances = probability(np.array([2.0, 1.0, 0.0]), calibration)
    assert chances[0] > 0.9
    assert chances[1] == pytest.approx(0.5, abs=0.01)
    assert chances[2] < 0.1


def test_a_rated_response_is_good_by_its_rating_whatever_it_was_compared_with() -> None:
    good, bad = Pair("p", "rated well"), Pair("p", "rated badly")
    held = [
        Judgement(Kind.RATING, (good,), "g", level=4),
        Judgement(Kind.RATING, (bad,), "g", level=0),
        Judgement(Kind.WIN, (bad, good), "g"),
        Judgement(Kind.WIN, (Pair("p", "won"), good), "g"),
    ]

    calibration = calibrate({good: 2.0, bad: -2.0, Pair("p", "won"): 1.0}, held, good_rating=4.0)

    assert calibration.slope > 1


def test_a_text_unlike_the_validation_responses_is_called_outside(tmp_path: Path) -> None:
    draw = Random(1)

    def pair(at: int) -> PreferencePair:
        tail = " ".join(draw.choices(("sky", "sea", "one", "two", "and", "of"), k=8))
        return PreferencePair(f"what is the {tail}", f"kind {tail}", f"rude {tail}", f"g{at}")

    pairs = [pair(at) for at in range(600)]
    dataset = RewardDataset(pairs[:560], pairs[560:], [], [], "sha256:test")

    trained = trained_on(dataset, tmp_path, batch_size=16, learning_rate=1e-3)

    scorer = load_scorer(tmp_path / "model", secret=SECRET)
    usual, strange = Pair(pairs[570].prompt, pairs[570].chosen), Pair("qqq", "xxx " * 30)
    assert trained.metrics["outside_share"] <= 0.1
    assert scorer.score([usual, strange], details=True).out_of_domain.tolist() == [False, True]
    assert scorer.score([usual]).out_of_domain is None
    path = tmp_path / "model" / "domain.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"domain\.safetensors was changed after training"):
        load_scorer(tmp_path / "model", secret=SECRET)


def test_doubt_aspects_and_a_curve_of_last_layers_come_with_a_trained_model(
    tmp_path: Path,
) -> None:
    draw = Random(2)

    def rated(at: int) -> RatedResponse:
        tone = draw.choice(("kind", "rude"))
        tail = " ".join(draw.choices(("sky", "sea", "one", "two", "and", "of"), k=6))
        stars = 4.0 + (at % 2) if tone == "kind" else 1.0 + (at % 2)
        aspects = {"tone": 5.0 if tone == "kind" else 1.0}
        return RatedResponse(
            f"what is the {tail}", f"{tone} {tail}", stars, f"g{at}", str(at), aspects=aspects
        )

    rows = [rated(at) for at in range(300)]
    dataset = RewardDataset([], [], rows[:240], rows[240:], "sha256:test")

    trained = trained_on(dataset, tmp_path, learning_rate=1e-3)

    scorer = load_scorer(tmp_path / "model", secret=SECRET)
    kind, rude, strange = (
        Pair("what is the sky", one) for one in ("kind sea", "rude sea", "is is")
    )
    found = scorer.score([kind, rude, strange], details=True)
    assert trained.manifest.aspects == ("tone",)
    assert found.aspects["tone"][0] > found.aspects["tone"][1] + 1
    assert trained.metrics["aspect_tone_correlation"] > 0.5
    assert found.uncertainty is not None
    assert found.uncertainty.argmax() == 2
    plain = scorer.score([kind])
    assert (plain.uncertainty, plain.aspects) == (None, {})
    assert plain.reward == pytest.approx(found.reward[:1], abs=1e-6)
    audit = AuditReport.model_validate_json((tmp_path / "model" / "audit.json").read_bytes())
    assert audit.learning.refitted == "last_layer"
    assert [one.judgements for one in audit.learning.points] == [30, 60, 120, 240]
    assert audit.calibrated_on == "choosing_prompts"
    card = (tmp_path / "model" / "card.md").read_text()
    assert "Learning curve of last layers alone, on the model before training" in card
    assert "also chose when training ended" in card


def test_a_posterior_that_was_changed_is_refused(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(f"what is {at}", "kind one", "rude two", group=f"g{at}") for at in range(20)
    ]
    trained_on(RewardDataset(pairs, [], [], [], "sha256:test"), tmp_path)
    path = tmp_path / "model" / "posterior.safetensors"

    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ArtifactError, match=r"posterior\.safetensors was changed after training"):
        load_scorer(tmp_path / "model", secret=SECRET)


def test_raters_whose_feedback_is_switched_off_are_not_judged(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(f"what is {at}", "kind", "rude", group=f"g{at}", rater="r_1")
        for at in range(20)
    ]
    rated = [RatedResponse("what", "kind", 1.0, "g", str(at), rater="r_2") for at in range(9)]

    trained = trained_on(
        RewardDataset(pairs, [], rated, [], "sha256:test"), tmp_path, rating_weight=0
    )

    assert trained.metrics["raters"] == 1
