"""The embedding recipe on every kind of feedback at once."""

from dataclasses import replace
from pathlib import Path

from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    RewardDataset,
    TiedPair,
)
from services.trainer.recipes.embedding_reward import (
    EmbeddingParams,
    train,
    train_embedding_reward,
)
from services.trainer.trained import TrainedReward
from shared.ml.artifact import load_scorer
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"
GOOD = "Gladly: rest, drink enough, and call a doctor if it lasts beyond three days."
FAIR = "Rest a little and drink enough; it will pass, as it mostly does."
BAD = "No idea, and honestly nobody cares; stop asking silly questions here."


def question(at: int) -> str:
    return f"Question {at} about fever?"


def rated(at: int) -> RatedResponse:
    """Good responses are accurate and rated high by everybody, others are not; 0-1."""
    is_good = at % 2 == 0
    return RatedResponse(
        question(at),
        f"{GOOD if is_good else BAD} Case {at}.",
        1 + 4 * (0.8 + at % 3 / 10 if is_good else at % 3 / 10),
        f"group {at}",
        f"row {at}",
        rater=f"rater {at % 4}",
        scale="unit",
        aspects={"accuracy": 5.0 if is_good else 1.0},
    )


def everything() -> RewardDataset:
    pairs = [
        PreferencePair(question(at), f"{GOOD} Now {at}.", f"{BAD} Now {at}.", f"group {at}")
        for at in range(80, 100)
    ]
    ties = [
        TiedPair(
            question(at),
            (f"{FAIR} Or {at}.", f"{FAIR} And {at}."),
            "tie",
            f"group {at}",
            f"tie {at}",
        )
        for at in range(100, 110)
    ]
    rankings = [
        RankedResponses(
            question(at),
            (f"{GOOD} {at}.", f"{FAIR} {at}.", f"{BAD} {at}."),
            f"group {at}",
            f"rank {at}",
        )
        for at in range(110, 120)
    ]
    known = [rated(at) for at in range(80)]
    return RewardDataset(
        pairs[:15], pairs[15:], known[:60], known[60:], "sha256:test",
        train_ties=ties, train_rankings=rankings,
    )  # fmt: skip


def run(dataset: RewardDataset, params: EmbeddingParams, output: Path) -> TrainedReward:
    return train(
        dataset, params, output=output, secret=SECRET, progress=lambda *_: None, code_version="t"
    )


def test_everything_people_say_is_learned_from_and_reported(tmp_path: Path) -> None:
    trained = run(everything(), EmbeddingParams(), tmp_path / "model")

    metrics = trained.metrics
    cuts = [metrics[f"unit_cut_{at}"] for at in (1, 2, 3)]
    assert cuts == sorted(cuts, key=lambda cut: float(cut or 0))
    assert float(metrics["tie_eta"] or 0) > 0
    assert metrics["raters"] == 4
    assert metrics["aspect_accuracy_responses"] == 60
    assert metrics["pair_accuracy"] == 1.0
    assert float(metrics["predicted_rating_mse"] or 1) < 0.05
    scorer = load_scorer(trained.folder, secret=SECRET)
    held = [rated(at) for at in range(60, 80)]
    scores = scorer.score([Pair(one.prompt, one.response) for one in held], details=True)
    accuracy = scores.aspects["accuracy"]
    assert scores.reward[0::2].min() > scores.reward[1::2].max()
    assert accuracy[0::2].min() > 0 > accuracy[1::2].max()
    assert scorer.manifest.aspects == ("accuracy",)


def test_sources_that_are_switched_off_leave_the_model_as_it_is_without_them() -> None:
    dataset, encoder = everything(), open_encoder(default_encoder_folder())
    bare = replace(dataset, train_ties=(), train_rankings=())

    without, off = (
        train_embedding_reward(given, params, encoder, progress=lambda *_: None)
        for given, params in (
            (bare, EmbeddingParams()),
            (dataset, EmbeddingParams(tie_weight=0, ranking_weight=0)),
        )
    )

    assert off.head.to_bytes() == without.head.to_bytes()
    assert off.report == without.report


def test_responses_rated_by_aspect_alone_teach_aspects_and_leave_the_reward_as_it_is() -> None:
    dataset, encoder = everything(), open_encoder(default_encoder_folder())
    polite = [
        RatedAspects(
            question(at),
            f"{GOOD if at % 2 else BAD} Heard {at}.",
            {"tone": float(at % 2)},
            f"group {at}",
            f"row {at}",
            rater=f"rater {at % 4}",
        )
        for at in range(200, 260)
    ]

    without, beside = (
        train_embedding_reward(given, EmbeddingParams(), encoder, progress=lambda *_: None)
        for given in (dataset, replace(dataset, train_aspects=polite))
    )

    assert (set(without.head.aspects), set(beside.head.aspects)) == (
        {"accuracy"},
        {"accuracy", "tone"},
    )
    assert beside.report["aspect_tone_responses"] == 60
    assert float(beside.report["aspect_tone_correlation"] or 0) > 0.9
    assert beside.head.weights.tobytes() == without.head.weights.tobytes()
    assert beside.head.bias == without.head.bias
    assert beside.calibration == without.calibration
    overall = [name for name in without.report if not name.startswith("aspect_")]
    assert [beside.report[name] for name in overall] == [without.report[name] for name in overall]
    assert beside.rewards.tobytes() == without.rewards.tobytes()
