"""A head that is fitted on eight-bit numbers, from training to the engines that refuse it."""

from pathlib import Path

import numpy as np
import pytest

from services.trainer.examples import RatedResponse, RewardDataset
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from shared.errors import ArtifactError
from shared.ml.artifact import load_scorer
from shared.ml.quantised import RANGES_FILE, refuse_without_int8
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"

GOOD = "Gladly: rest, drink enough, and call a doctor if it lasts beyond three days."
BAD = "No idea, and honestly nobody cares; stop asking silly questions here."


def trained(folder: Path, **params: object) -> Path:
    rows = [
        RatedResponse(
            f"Question {at} about fever?", f"{(GOOD, BAD)[at % 2]} Case {at}.",
            (5, 1)[at % 2], f"group {at}", f"row {at}",
        )
        for at in range(60)
    ]  # fmt: skip
    dataset = RewardDataset([], [], rows[12:], rows[:12], "sha256:test")
    train(
        dataset, EmbeddingParams(**params), output=folder, secret=SECRET,
        progress=lambda *_: None, code_version="test",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    try:
        refuse_without_int8()
    except ArtifactError as error:
        pytest.skip(str(error))
    return trained(tmp_path_factory.mktemp("int8") / "model", engine="int8")


@pytest.mark.parametrize("engine", ["fitted", "auto", "int8"])
def test_it_is_served_in_the_numbers_it_was_fitted_on(folder, engine) -> None:
    scorer = load_scorer(folder, secret=SECRET, engine=engine)

    rewards = scorer.score([Pair("Fever?", GOOD), Pair("Fever?", BAD)]).reward

    assert scorer.engine == scorer.manifest.backbone.engine == "torch-packed-int8"
    assert RANGES_FILE in scorer.manifest.files
    assert rewards[0] > rewards[1] + 1


@pytest.mark.parametrize("engine", ["fp32", "bf16"])
def test_other_numbers_are_refused(folder, engine) -> None:
    with pytest.raises(ArtifactError, match="choose auto or fitted or int8"):
        load_scorer(folder, secret=SECRET, engine=engine)


def test_a_pair_scores_the_same_alone_and_among_others(folder) -> None:
    scorer = load_scorer(folder, secret=SECRET)
    pairs = [Pair(f"Question {at}?", f"{(GOOD, BAD)[at % 2]} {'more ' * at}") for at in range(40)]

    together = scorer.score(pairs).reward

    alone = np.concatenate([scorer.score([pair]).reward for pair in pairs])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-6)


def test_a_model_of_the_reference_is_served_in_half_the_bits_but_not_in_a_quarter(tmp_path) -> None:
    plain = trained(tmp_path / "model")

    half = load_scorer(plain, secret=SECRET, engine="bf16")

    assert half.engine == "torch-packed-bf16"
    with pytest.raises(ArtifactError, match="train an embedding model with that engine"):
        load_scorer(plain, secret=SECRET, engine="int8")
