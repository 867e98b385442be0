from pathlib import Path

import numpy as np
import pytest

from services.trainer.baselines import fitted_length_margins, length_differences
from services.trainer.evidence import collect_items
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.exports import export_sentence_transformers
from services.trainer.recipes.embedding_reward import EmbeddingParams, rated_rows, train
from services.trainer.trained import TrainedReward
from shared.errors import ConfigError, InvalidInput, NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"

GOOD = "Gladly: rest, drink enough, and call a doctor if it lasts beyond three days."
BAD = "No idea, and honestly nobody cares; stop asking silly questions here."


def rated_dataset(rows: int = 60, held: int = 12) -> RewardDataset:
    """Each prompt once; every second response is good, rated 4 or 5, the others 1 to 3."""

    def rated(at: int) -> RatedResponse:
        is_good = at % 2 == 0
        stars = 4 + at % 4 // 2 if is_good else 1 + at % 3
        text = f"{GOOD if is_good else BAD} Case {at}."
        return RatedResponse(f"Question {at} about fever?", text, stars, f"group {at}", f"row {at}")

    made = [rated(at) for at in range(rows)]
    return RewardDataset([], [], made[held:], made[:held], "sha256:test")


def run(dataset: RewardDataset, params: EmbeddingParams, output: Path) -> TrainedReward:
    return train(
        dataset,
        params,
        output=output,
        secret=SECRET,
        progress=lambda *_: None,
        code_version="test",
    )


def test_the_original_recipe_is_a_balanced_logistic_regression_on_the_joint_embedding(
    tmp_path: Path,
) -> None:
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    from shared.ml.backbones import default_encoder_folder

    dataset = rated_dataset()
    texts = [f"{one.prompt} </s> {one.response}" for one in dataset.train_rated]
    labels = [int(one.rating >= 4) for one in dataset.train_rated]
    vectors = SentenceTransformer(str(default_encoder_folder()), device="cpu").encode(texts)
    kept, held, good, _ = train_test_split(
        vectors, labels, test_size=0.12, random_state=42, stratify=labels
    )
    expected = LogisticRegression(max_iter=1000, class_weight="balanced").fit(kept, good)

    trained = run(dataset, EmbeddingParams(mode="original"), tmp_path / "model")

    pairs = [Pair(one.prompt, one.response) for one in dataset.train_rated]
    scores = load_scorer(trained.folder, secret=SECRET).score(pairs)
    assert np.abs(scores.probability - expected.predict_proba(vectors)[:, 1]).max() <= 1e-3
    assert trained.metrics["row_split_rows"] == len(held)
    assert trained.metrics["row_split_accuracy"] == 1.0
    assert (trained.folder / "head.safetensors").stat().st_size < 100_000


def test_the_original_recipe_reads_the_joined_text_from_its_beginning(tmp_path: Path) -> None:
    trained = run(rated_dataset(), EmbeddingParams(mode="original"), tmp_path / "model")
    scorer = load_scorer(trained.folder, secret=SECRET)

    scores = scorer.score([Pair("word " * 400, GOOD), Pair("word " * 400, BAD)])

    assert scores.tokens.tolist() == [256, 256]
    assert scores.reward[0] == scores.reward[1]


def test_the_good_label_starts_at_the_given_rating(tmp_path: Path) -> None:
    rated = [
        RatedResponse(f"Question {at}?", GOOD if at % 5 == 4 else BAD, 1 + at % 5, f"{at}", f"{at}")
        for at in range(50)
    ]
    dataset = RewardDataset([], [], rated, [], "sha256:test")

    trained = run(dataset, EmbeddingParams(mode="original", good_rating=5), tmp_path / "model")

    scorer = load_scorer(trained.folder, secret=SECRET)
    scores = scorer.score([Pair("Why?", GOOD), Pair("Why?", BAD)])
    assert scores.probability[0] > 0.5 > scores.probability[1]
    with pytest.raises(NotEnoughData, match="both 5 or more and below"):
        run(
            RewardDataset([], [], [one for one in rated if one.rating < 5], [], "sha256:test"),
            EmbeddingParams(mode="original", good_rating=5, min_rated=10),
            tmp_path / "other",
        )


def test_comparisons_stand_in_for_ratings_in_the_original_recipe() -> None:
    pair = PreferencePair("Why?", "chosen", "rejected", group="g", row_ids=("r",))

    rows = rated_rows(RewardDataset([pair], [], [], [], "sha256:test"))

    assert [(row.response, row.rating) for row in rows] == [("chosen", 5.0), ("rejected", 1.0)]


@pytest.mark.parametrize("mode", ["default", "original"])
def test_fewer_than_fifty_judgements_are_refused_with_the_count(mode: str, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match=r"at least 50 .* there are 49.*--min-rated"):
        run(rated_dataset(rows=49), EmbeddingParams(mode=mode), tmp_path / "model")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.12, 0.95])
def test_too_few_rows_for_a_row_split_are_refused(share: float, tmp_path: Path) -> None:
    params = EmbeddingParams(mode="original", min_rated=2, test_share=share)

    with pytest.raises(NotEnoughData, match=r"of 8 rows would be held out.*test_share"):
        run(rated_dataset(rows=8, held=0), params, tmp_path / "model")


def test_ratings_of_different_prompts_are_enough_to_train_on(tmp_path: Path) -> None:
    trained = run(rated_dataset(), EmbeddingParams(), tmp_path / "model")

    assert trained.metrics["rated_auc"] == 1.0
    assert trained.metrics["pair_accuracy"] is None
    scorer = load_scorer(trained.folder, secret=SECRET)
    scores = scorer.score([Pair("Why?", GOOD), Pair("Why?", BAD)])
    assert scores.probability[0] > 0.5 > scores.probability[1]


def test_one_prompt_alone_is_refused(tmp_path: Path) -> None:
    pairs = [PreferencePair("Why?", f"{GOOD} {at}", f"{BAD} {at}", group="g") for at in range(60)]

    with pytest.raises(NotEnoughData, match="two different prompts"):
        run(RewardDataset(pairs, [], [], [], "sha256:test"), EmbeddingParams(), tmp_path / "model")


def test_shuffled_labels_leave_an_honest_interval_around_one_half(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)

    def pair(at: int) -> PreferencePair:
        sides = [f"{GOOD} Case {at}.", f"{BAD} Case {at}."]
        draw.shuffle(sides)
        return PreferencePair(f"Question {at}?", sides[0], sides[1], group=f"group {at}")

    pairs = [pair(at) for at in range(160)]
    dataset = RewardDataset(pairs[:100], pairs[100:], [], [], "sha256:test")

    trained = run(dataset, EmbeddingParams(), tmp_path / "model")

    low, high = trained.metrics["pair_accuracy_low"], trained.metrics["pair_accuracy_high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low <= 0.5 <= high


def test_margins_are_given_for_each_held_out_pair_in_order(tmp_path: Path) -> None:
    pairs = [
        PreferencePair(f"Question {at}?", f"{GOOD} {at}", f"{BAD} {at}", group=f"{at}")
        for at in range(60)
    ]
    flipped = PreferencePair("Question 99?", BAD, GOOD, group="99")
    dataset = RewardDataset(pairs[:50], [*pairs[50:], flipped], [], [], "sha256:test")

    trained = run(dataset, EmbeddingParams(), tmp_path / "model")

    assert (trained.test_margins > 0).tolist() == [True] * 10 + [False]
    assert trained.metrics["pair_accuracy"] == pytest.approx(10 / 11)


def test_a_rating_that_made_a_comparison_counts_once() -> None:
    better = RatedResponse("Why?", GOOD, 5, "g", "one")
    worse = RatedResponse("Why?", BAD, 1, "g", "two")
    other = RatedResponse("How?", GOOD, 4, "h", "three")
    pair = PreferencePair("Why?", GOOD, BAD, group="g", source="rating", row_ids=("one", "two"))

    items = collect_items([pair], [better, worse, other])

    assert items.evidence.comparisons.first.tolist() == [0]
    assert items.evidence.comparisons.second.tolist() == [1]
    assert items.evidence.ratings.item.tolist() == [2]
    assert items.evidence.ratings.level.tolist() == [3]
    assert items.evidence.weight.tolist() == [1.0, 1.0]
    assert items.ratings.tolist() == [5.0, 1.0, 4.0]
    assert items.groups.tolist() == [0, 0, 1]


def test_the_length_baseline_learns_that_people_want_shorter_responses() -> None:
    pairs = [
        PreferencePair(f"Question {at}?", "short", "much longer " * (1 + at % 3), group=f"{at}")
        for at in range(20)
    ]

    margins = fitted_length_margins(pairs[:15], [], pairs[15:])

    assert (length_differences(pairs[15:]) < 0).all()
    assert (margins > 0).all()


def test_a_model_that_is_not_to_be_had_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--base-model /nowhere/at/all: there is no such folder"):
        run(rated_dataset(), EmbeddingParams(base_model="/nowhere/at/all"), tmp_path / "model")


def test_an_encoder_from_a_folder_travels_inside_the_artifact(tmp_path: Path) -> None:
    import shutil

    from shared.ml.backbones import default_encoder_folder

    shutil.copytree(default_encoder_folder(), tmp_path / "mine")
    trained = run(
        rated_dataset(), EmbeddingParams(base_model=str(tmp_path / "mine")), tmp_path / "model"
    )
    shutil.rmtree(tmp_path / "mine")

    assert load_scorer(trained.folder, secret=SECRET).manifest.backbone.path == "encoder"


def test_the_original_model_opens_as_a_sentence_transformer(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    dataset = rated_dataset()
    trained = run(dataset, EmbeddingParams(mode="original"), tmp_path / "model")
    export_sentence_transformers(trained.folder, tmp_path / "plain", secret=SECRET)
    rows = dataset.test_rated[:4]

    found = SentenceTransformer(str(tmp_path / "plain"), device="cpu").encode(
        [f"{row.prompt} </s> {row.response}" for row in rows]
    )

    scores = load_scorer(trained.folder, secret=SECRET).score(
        [Pair(row.prompt, row.response) for row in rows]
    )
    assert np.abs(found[:, 0] - scores.probability).max() <= 1e-5


def test_a_model_with_product_features_is_not_exported(tmp_path: Path) -> None:
    trained = run(rated_dataset(), EmbeddingParams(), tmp_path / "model")

    with pytest.raises(InvalidInput, match="--mode original"):
        export_sentence_transformers(trained.folder, tmp_path / "plain", secret=SECRET)
