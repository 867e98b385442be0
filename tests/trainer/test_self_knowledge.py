"""What a reward model says of its own scores, and whether held-out judgements agree."""

import random
from pathlib import Path

import numpy as np
import pytest

from services.trainer.calibration import fit_calibration
from services.trainer.conformal import Judgements, fit_label_interval
from services.trainer.embedding_head import fit_original
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from services.trainer.reward_metrics import Metrics
from services.trainer.self_knowledge import coverage_metrics, fit_interval, said_labels
from services.trainer.trained import TrainedReward
from shared.contracts.manifest import Calibration, Conformal, Curve, RewardManifest
from shared.errors import NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.calibrated import interval
from shared.ml.head import Embedded, probability
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"
PLAIN = Calibration(slope=1.0, intercept=0.0, method="none")
KIND, RUDE = "Gladly: rest and drink enough", "No idea, stop asking"


def rated(at: int, **given: object) -> RatedResponse:
    """Kind responses get 4 or 5 stars, rude ones 1 or 2."""
    draw = random.Random(at)
    is_kind = draw.random() < 0.5
    values = {
        "prompt": f"What about {draw.choice(['fever', 'a cough', 'my back'])}, case {at}?",
        "response": f"{KIND if is_kind else RUDE}, note {draw.randint(1, 99)}.",
        "rating": (4 if is_kind else 1) + draw.randint(0, 1),
        "group": f"group {at}",
        "row_id": f"row {at}",
        "aspects": {"tone": 5.0 if is_kind else 1.0},
        "slices": {"agent": "one" if at % 4 else "two"},
    }
    return RatedResponse(**{**values, **given})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedReward:
    rows = [rated(at) for at in range(200)]
    return train(
        RewardDataset([], [], rows[:120], rows[120:], "sha256:test"),
        EmbeddingParams(lexical=False, product=False),
        output=tmp_path_factory.mktemp("models") / "model",
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )


def test_a_model_trained_on_ratings_expects_ratings(trained: TrainedReward) -> None:
    pairs = [Pair("What about fever?", f"{KIND}, note 3."), Pair("What about it?", f"{RUDE}.")]

    scores = load_scorer(trained.folder, secret=SECRET).score(pairs, details=True)

    assert scores.low is not None
    assert scores.expected is not None
    assert scores.high is not None
    assert (scores.low <= scores.expected).all()
    assert (scores.expected <= scores.high).all()
    assert scores.expected[0] == pytest.approx(0.875, abs=0.1)  # 4.5 stars
    assert scores.expected[1] == pytest.approx(0.125, abs=0.1)  # 1.5 stars
    assert scores.aspects["tone"][0] > 0 > scores.aspects["tone"][1]
    assert trained.manifest.aspects == ("tone",)


def test_coverage_and_domain_are_measured_on_held_out_rows(trained: TrainedReward) -> None:
    metrics = trained.metrics

    assert metrics["interval_target"] == "rating"
    assert metrics["coverage_judgements"] == 80
    assert metrics["coverage"] >= 0.8
    assert metrics["slice/agent=two/coverage_judgements"] == 20
    assert metrics["expected_rating_correlation"] > 0.9
    assert metrics["expected_rating_mse"] < 0.05
    assert metrics["outside_responses"] == 80
    assert metrics["outside_share"] < 0.2


def test_what_nobody_asked_for_is_not_computed(trained: TrainedReward) -> None:
    scores = load_scorer(trained.folder, secret=SECRET).score([Pair("Why?", KIND)])

    assert (scores.low, scores.expected, scores.high, scores.out_of_domain) == (None,) * 4
    assert scores.aspects == {}


def test_labels_are_good_ratings_and_choices_each_said_once() -> None:
    choice = PreferencePair("Why?", KIND, RUDE, group="g", slices={"agent": "one"})
    derived = PreferencePair("How?", KIND, RUDE, group="h", source="rating", row_ids=("a", "b"))
    thumb = rated(1, rating=5.0, scale="thumbs", response=KIND)

    said = said_labels([choice, derived], [thumb], good_rating=4.0)

    assert [item.response for item in said.items] == [KIND, RUDE, KIND]
    assert said.values.tolist() == [1.0, 0.0, 1.0]
    assert list(said.groups) == ["g", "g", thumb.group]


@pytest.mark.parametrize(
    ("stars", "thumbs", "target"), [(30, 0, "rating"), (29, 20, "label"), (0, 60, "label")]
)
def test_intervals_are_for_ratings_where_enough_prompts_have_them(
    stars: int, thumbs: int, target: str
) -> None:
    rows = [rated(at) for at in range(stars)]
    rows += [rated(at, scale="thumbs") for at in range(stars, stars + thumbs)]
    rewards = {Pair(one.prompt, one.response): one.rating for one in rows}

    found = fit_interval(
        RewardDataset([], [], rows, [], "sha256:test"), rewards, PLAIN, good_rating=4.0, seed=1
    )

    assert found is not None
    assert (found.target, found.groups) == (target, stars + thumbs)


def test_without_rewards_there_is_no_interval() -> None:
    dataset = RewardDataset([], [], [rated(at) for at in range(60)], [], "sha256:test")

    assert fit_interval(dataset, {}, PLAIN, good_rating=4.0, seed=1) is None


# 0.2 to 0.8: holds 2 to 4 stars (0.25, 0.5, 0.75), neither 1 nor 5
FLAT = Conformal(
    target="rating",
    level=0.9,
    quantile=1.0,
    centre=Curve(rewards=(0.0,), values=(0.5,)),
    spread=Curve(rewards=(0.0,), values=(0.3,)),
    groups=40,
)


def covered(trained: TrainedReward, rows: list[RatedResponse]) -> Metrics:
    manifest: RewardManifest = trained.manifest.model_copy(update={"conformal": FLAT})
    return coverage_metrics(
        manifest,
        RewardDataset([], [], [], rows, "sha256:test"),
        lambda items: np.zeros(len(items)),
        good_rating=4.0,
    )


def test_coverage_counts_the_judgements_between_both_bounds(trained: TrainedReward) -> None:
    found = covered(trained, [rated(at, rating=float(1 + at % 5), slices={}) for at in range(50)])

    assert found["coverage"] == pytest.approx(0.6)
    assert found["interval_width"] == pytest.approx(0.6)
    assert found["expected_rating_correlation"] is None


def test_coverage_counts_each_prompt_once_however_much_was_said_about_it(
    trained: TrainedReward,
) -> None:
    usual = [rated(at, rating=3.0, slices={}) for at in range(9)]
    loud = [rated(at, rating=5.0, slices={}, group="loud") for at in range(9, 60)]

    found = covered(trained, [*usual, *loud])

    assert found["coverage"] == pytest.approx(0.9)
    assert found["coverage_judgements"] == 60


def test_the_original_recipe_gives_intervals_that_hold_for_other_prompts(tmp_path: Path) -> None:
    rows = [rated(at) for at in range(140)]

    found = train(
        RewardDataset([], [], rows[:100], rows[100:], "sha256:test"),
        EmbeddingParams(mode="original"),
        output=tmp_path / "model",
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )

    assert found.manifest.conformal is not None
    assert found.metrics["coverage"] >= 0.8
    assert found.metrics["interval_width"] < 0.6


def twins(prompts: int, seed: int) -> tuple[Embedded, np.ndarray, np.ndarray]:
    """A good and a bad response to each prompt, whose embeddings are mostly its topic."""
    draw = np.random.default_rng(seed)
    topic = np.repeat(draw.normal(size=(prompts, 60)), 2, axis=0)
    rows = topic + 0.3 * draw.normal(size=(2 * prompts, 60))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    embedded = Embedded(rows, rows, np.full(len(rows), 5), [""] * len(rows))
    return embedded, np.tile([1.0, 0.0], prompts), np.repeat(np.arange(prompts), 2)


def test_intervals_of_the_original_recipe_hold_where_each_prompt_has_a_good_and_a_bad_one() -> None:
    """Its split parts such twins, which spreads rewards of new prompts."""
    found = []
    for seed in range(6):
        embedded, labels, groups = twins(600, seed)
        fitted = fit_original(
            embedded, (1 + 4 * labels).tolist(), groups, good_rating=4.0, test_share=0.12, seed=1
        )
        judged = Judgements(fitted.rewards, labels, groups)
        conformal = fit_label_interval(judged, fitted.calibration)
        new, good, _ = twins(1000, seed + 100)
        bounds = interval(fitted.head.rewards(new), conformal, fitted.calibration)
        found.append(np.mean((bounds.low <= good) & (good <= bounds.high)))

    assert abs(np.mean(found) - 0.9) <= 0.03


def test_the_original_recipe_has_no_interval_where_a_fold_lacks_a_label() -> None:
    embedded = Embedded(np.eye(60, dtype=np.float32), np.eye(60, dtype=np.float32),
                        np.full(60, 5), [""] * 60)  # fmt: skip
    stars = [5.0] * 30 + [1.0] * 30

    found = fit_original(
        embedded, stars, np.arange(60) // 30, good_rating=4.0, test_share=0.12, seed=1
    )

    assert len(found.rewards) == 0


def test_the_original_recipe_refuses_a_split_that_leaves_one_label_to_learn_from() -> None:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(20, 8)).astype(np.float32)
    embedded = Embedded(rows, rows, np.full(20, 5), [""] * 20)
    stars = [5.0, 5.0] + [1.0] * 18

    with pytest.raises(NotEnoughData, match="All 2 rows that are not held out are rated alike"):
        fit_original(embedded, stars, np.arange(20), good_rating=4.0, test_share=0.9, seed=0)


@pytest.mark.parametrize("count", [9, 12, 16])
def test_the_original_recipe_learns_from_a_handful_of_rows(count: int) -> None:
    rows = np.eye(count, dtype=np.float32)
    embedded = Embedded(rows, rows, np.full(count, 5), [""] * count)
    stars = [5.0, 5.0] + [1.0] * (count - 2)

    found = fit_original(
        embedded, stars, np.arange(count), good_rating=4.0, test_share=0.12, seed=0
    )

    assert found.head.weights.shape == (count,)
    assert found.report["row_split_rows"] == 2


def test_without_any_label_the_reward_is_taken_as_log_odds() -> None:
    assert fit_calibration(np.empty(0), np.empty(0)) == PLAIN
    assert fit_calibration(np.array([1.0, 2.0]), np.ones(2)) == PLAIN


def test_probabilities_are_those_of_rare_good_responses_too():
    """A quarter of the labels are good, and by so much more often as the reward says."""
    draw = np.random.default_rng(7)
    rewards = draw.normal(size=4000)
    chance = 1 / (1 + np.exp(1.5 - rewards))
    labels = (draw.random(4000) < chance).astype(float)

    found = fit_calibration(rewards, labels)

    said = probability(rewards, found)
    assert said.mean() == pytest.approx(labels.mean(), abs=1e-3)
    assert np.abs(said - chance).max() < 0.05
