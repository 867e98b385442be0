"""A BERT with one output, packed: the rewards `transformers` gives, alone and in any batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from shared.ml.classifiers import PlainClassifier, open_classifier
from shared.ml.windows import PairWindow

_WINDOWS = [
    PairWindow([2, *range(5, 5 + length), 3], truncated=False)
    for length in (*range(1, 40, 2), 60, 110)
]
_TYPED = [
    PairWindow(one.ids, truncated=False, types=[int(at > 2) for at in range(len(one.ids))])
    for one in _WINDOWS
]


def saved(folder: Path, **config: object) -> tuple[Path, BertForSequenceClassification]:
    """A classifier with random weights that are large enough to tell texts apart."""
    torch.manual_seed(7)
    model = BertForSequenceClassification(
        BertConfig(
            **{"vocab_size": 128, "hidden_size": 48, "num_hidden_layers": 3, "num_labels": 1}
            | {"num_attention_heads": 4, "intermediate_size": 96, "initializer_range": 0.3}
            | config
        )
    )
    model.save_pretrained(folder)
    return folder, model.eval()


@pytest.mark.parametrize("windows", [_WINDOWS, _TYPED], ids=["one type", "two types"])
def test_packed_rewards_and_vectors_are_those_of_transformers(tmp_path, windows) -> None:
    folder, model = saved(tmp_path / "model")
    packed, plain = open_classifier(folder), PlainClassifier(model)

    rewards, vectors = packed.read(windows)

    expected, read = plain.read(windows)
    assert packed.engine == "torch-packed-fp32"
    assert packed.width == plain.width == 48
    assert expected.std() > 0.01
    np.testing.assert_allclose(rewards, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(vectors, read, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [1, 8, 64])
def test_a_window_gets_the_same_reward_in_any_batch(tmp_path, engine, size) -> None:
    packed = open_classifier(saved(tmp_path / "model")[0], engine=engine)

    together = packed.rewards(_WINDOWS)

    parts = [packed.rewards(_WINDOWS[at : at + size]) for at in range(0, len(_WINDOWS), size)]
    np.testing.assert_allclose(np.concatenate(parts), together, rtol=0, atol=1e-6)


def test_half_the_bits_keep_the_order(tmp_path) -> None:
    folder, _ = saved(tmp_path / "model")

    whole, half = (
        open_classifier(folder, engine=one).rewards(_WINDOWS) for one in ("fp32", "bf16")
    )

    assert np.corrcoef(whole, half)[0, 1] > 0.999
    assert 0 < np.abs(whole - half).max() < 0.15 * np.std(whole)


@pytest.mark.parametrize(
    "config",
    [{"hidden_act": "relu"}, {"num_labels": 2}, {"is_decoder": True}],
    ids=["activation", "labels", "decoder"],
)
def test_what_is_not_known_runs_plain(tmp_path, config) -> None:
    found = open_classifier(saved(tmp_path / "model", **config)[0], engine="bf16")

    assert found.engine in ("transformers-fp32", "transformers-cuda-bf16")


def test_no_windows_give_no_rewards(tmp_path) -> None:
    rewards, vectors = open_classifier(saved(tmp_path / "model")[0]).read([])

    assert rewards.shape == (0,)
    assert vectors.shape == (0, 48)
