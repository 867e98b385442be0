"""A copy of a model where a person wants it, which replaces nothing but a model."""

from pathlib import Path

import pytest

from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.execution import export_folder
from services.trainer.recipes.embedding_reward import EmbeddingParams, train
from shared.errors import ConfigError


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model."""
    pairs = [
        PreferencePair(f"What is {at}?", f"Gladly: {at}.", "Go away.", group=str(at))
        for at in range(30)
    ]
    return train(
        RewardDataset(pairs[:20], pairs[20:], [], [], "sha256:test"),
        EmbeddingParams(min_rated=10, lexical=False),
        output=tmp_path_factory.mktemp("trained") / "model",
        secret=b"a secret of at least thirty-two bytes",
        progress=lambda *_: None,
        code_version="test",
    ).folder


def test_an_earlier_model_is_replaced(artifact: Path, tmp_path: Path):
    export_folder(artifact, tmp_path / "model")
    (tmp_path / "model" / "card.md").unlink()

    export_folder(artifact, tmp_path / "model")

    assert (tmp_path / "model" / "card.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_stays_and_nothing_is_left_beside_it(
    artifact: Path, tmp_path: Path
):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "reward_model.json").write_text("{}")

    with pytest.raises(ConfigError, match="give another --output"):
        export_folder(artifact, mine)

    assert [path.name for path in mine.iterdir()] == ["reward_model.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
