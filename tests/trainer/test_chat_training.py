"""Decoders learn from conversations in their own chat template, and are served in it."""

from pathlib import Path

import pytest
from support.tiny_chat import save_tiny_chat

from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes.transformer_reward import TransformerParams, train
from services.trainer.trained import TrainedReward
from shared.ml.artifact import load_scorer
from shared.ml.chat import ChatTokenizer
from shared.ml.scorer import Pair

SECRET = b"a secret of at least thirty-two bytes"


def trained(folder: Path, family: str, **more: object) -> TrainedReward:
    """A model that learned for an epoch from polite and rude responses."""
    pairs = [
        PreferencePair(f"What about salt, case {at}?", "Less is better.", "Go away.", str(at),
                       row_ids=(str(at),))
        for at in range(24)
    ]  # fmt: skip
    base = save_tiny_chat(folder / "base", family)
    return train(
        RewardDataset(pairs[:18], pairs[18:], [], [], "sha256:test"),
        TransformerParams.model_validate(
            {"base_model": str(base), "min_rated": 10, "epochs": 2, "learning_rate": 3e-3,
             "max_tokens": 64, **more}
        ),
        output=folder / "model", secret=SECRET, progress=lambda *_: None, code_version="test",
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.parametrize(("family", "lora_rank"), [("qwen2", 4), ("gpt2", 0)])
def test_a_decoder_is_trained_and_served_in_its_chat_template(
    tmp_path: Path, family: str, lora_rank: int
) -> None:
    model = trained(tmp_path, family, lora_rank=lora_rank)

    manifest = model.manifest
    scorer = load_scorer(model.folder, secret=SECRET)
    pair = Pair("What about salt, case 99?", "Less is better.")
    (window,) = ChatTokenizer(model.folder, manifest.truncation).windows([pair])
    assert (manifest.template, manifest.separator) == ("chat", "")
    assert scorer.score([pair]).tokens.tolist() == [len(window.ids)]
    rude = Pair(pair.prompt, "Go away.")
    better, worse = scorer.score([pair, rude]).reward
    assert better > worse
    assert not list(model.folder.glob("adapter*"))
    is_warned = (
        "**Warning.** The marks of the chat template" in (model.folder / "card.md").read_text()
    )
    assert is_warned == (family == "gpt2")  # whose turns are parted by plain text


def test_a_decoder_can_be_trained_without_its_chat_template(tmp_path: Path) -> None:
    model = trained(tmp_path, "qwen2", template="pair")

    assert (model.manifest.template, model.manifest.separator) == ("pair", "\n\n")
    assert load_scorer(model.folder, secret=SECRET).score([Pair("a", "b")]).tokens[0] < 10
