"""Models of other families and in adapters: what is fitted, trained and stored is one model."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_bert import WORDS, save_tiny_bert
from support.tiny_llama import save_tiny_llama
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from services.trainer.backbones import resolve_backbone
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.recipes.transformer_reward import TransformerParams, fine_tune
from services.trainer.transformer import opening
from services.trainer.transformer.batches import Collator, known_raters
from services.trainer.transformer.head_first import fit_head
from services.trainer.transformer.judgements import (
    collect_judgements,
    tokenise,
    validation_split,
)
from services.trainer.transformer.model import RewardLikelihood, Thresholds
from services.trainer.transformer.opening import Adapting, open_pretrained, plain_model
from shared.contracts.manifest import Truncation
from shared.errors import ConfigError
from shared.ml.windows import PairTokenizer


def feedback() -> RewardDataset:
    """Comparisons and ratings, most of them good."""
    pairs = [
        PreferencePair(f"what is {'one ' * (at % 5)}", "kind and", "rude", group=f"pair {at}")
        for at in range(20)
    ]
    rated = [
        RatedResponse(
            f"the sky {'two ' * (at % 4)}", ("kind", "kind of", "rude")[at % 3],
            (5.0, 4.0, 2.0)[at % 3], f"rated {at}", str(at), rater=f"r_{at % 2}",
        )
        for at in range(40)
    ]  # fmt: skip
    return RewardDataset(pairs, [], rated, [], "sha256:test")


def roberta(*, places: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=places, pad_token_id=0, bos_token_id=2,
        eos_token_id=3,
    )  # fmt: skip


def opened_with(dataset: RewardDataset, folder: Path) -> tuple[Any, ...]:
    """A model, its collator, and the dataset's judgements to learn from and to choose by."""
    classifier, processing = open_pretrained(folder, Adapting(), seed=1)
    window = Truncation(prompt_tokens=24, response_tokens=24)
    tokenizer = PairTokenizer(folder, window, separator=processing.sep_token or "two")
    split = validation_split(collect_judgements(dataset), seed=1)
    kept, held = (tokenise(tokenizer, some).rows for some in split)
    raters = known_raters(kept)
    model = RewardLikelihood(
        classifier, Thresholds(len(raters)), centring=0.01, judgements=len(kept)
    )
    return model, Collator(processing.pad_token_id, raters), kept, held


def test_a_last_layer_that_finds_nothing_to_learn_says_next_to_nothing(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    words = [word for word in WORDS if word.isalpha()]

    def said() -> str:
        return " ".join(draw.choice(words, 6))

    pairs = [PreferencePair("what", said(), said(), group=str(at)) for at in range(500)]
    model, collator, kept, held = opened_with(
        RewardDataset(pairs, [], [], [], "sha256:noise"), save_tiny_bert(tmp_path)
    )

    fitted = fit_head(model, collator, kept, held, batch_size=64)

    assert fitted.loss < math.log(2) + 0.002


@pytest.mark.parametrize("save", [save_tiny_bert, save_tiny_llama])
def test_the_fitted_last_layer_costs_what_it_says_whether_or_not_it_has_a_bias(
    tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    model, collator, kept, held = opened_with(feedback(), save(tmp_path))

    fitted = fit_head(model, collator, kept, held, batch_size=4)

    with torch.no_grad():
        loss = model.eval()(**collator(held))["loss"]
    assert fitted.loss == pytest.approx(float(loss), abs=1e-4)


@pytest.mark.parametrize(("layers", "kept"), [(1, 1), (0, 2), (9, 2)])
def test_a_model_is_cut_after_the_layers_asked_for(tmp_path: Path, layers: int, kept: int) -> None:
    folder = save_tiny_bert(tmp_path)
    ids = torch.tensor([[2, 5, 6, 3]])

    model, _ = open_pretrained(folder, Adapting(layers=layers), seed=1)

    whole = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    read = model.eval().bert(input_ids=ids, output_hidden_states=True).hidden_states[kept]
    expected = whole(input_ids=ids, output_hidden_states=True).hidden_states[kept]
    assert torch.allclose(read, expected, atol=1e-6)
    assert len(model.bert.encoder.layer) == kept == model.config.num_hidden_layers


def test_a_decoder_without_padding_learns_from_ratings_and_comparisons(tmp_path: Path) -> None:
    source = resolve_backbone(str(save_tiny_llama(tmp_path / "tiny")))
    kept, held = validation_split(collect_judgements(feedback()), seed=1)
    params = TransformerParams(epochs=3, batch_size=8, learning_rate=3e-3, max_tokens=24)

    tuned = fine_tune(source, kept, held, params, work=tmp_path / "work", progress=lambda *_: None)

    windows = tuned.tokenizer.windows([item for one in held for item in one.items])
    assert tuned.report["validation_loss"] < 0.5
    assert all(WORDS[window.ids[-1]] == "[SEP]" for window in windows)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_remembered_is_what_the_pretrained_model_says(tmp_path: Path, rank: int) -> None:
    folder = save_tiny_llama(tmp_path / "tiny")
    kept, held = validation_split(collect_judgements(feedback()), seed=1)
    params = TransformerParams(
        epochs=1, batch_size=8, learning_rate=1e-2, max_tokens=24, lora_rank=rank
    )
    remember = [kept[0].items[0], held[0].items[0]]

    tuned = fine_tune(
        resolve_backbone(str(folder)), kept, held, params, work=tmp_path / "work",
        progress=lambda *_: None, remember=remember,
    )  # fmt: skip

    pretrained = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    for pair, window in zip(remember, tuned.tokenizer.windows(remember), strict=True):
        read = pretrained(input_ids=torch.tensor([window.ids])).last_hidden_state[0]
        last = read[-2]  # the end token, which it is padded with, counts as padding
        assert tuned.untouched[pair] == pytest.approx(last.detach().numpy(), abs=1e-5)


def test_a_tokenizer_without_padding_and_end_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    config = folder / "tokenizer_config.json"
    told = json.loads(config.read_text())
    del told["eos_token"]
    config.write_text(json.dumps(told))

    with pytest.raises(ConfigError, match="neither a padding nor an end token"):
        open_pretrained(folder, Adapting(), seed=1)


def test_the_window_ends_where_the_tokenizer_says_that_the_model_does(tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(
        save_tiny_bert(tmp_path / "bert"), model_max_length=32
    ).save_pretrained(tmp_path / "roberta")
    RobertaModel(roberta(places=34)).save_pretrained(tmp_path / "roberta")  # 2 of them unused
    pairs = [
        PreferencePair("the sky " * 40, f"{text} " * 40, "sea " * at, f"g{at}")
        for at in range(10)
        for text in ("kind", "and")
    ]
    judged = validation_split(
        collect_judgements(RewardDataset(pairs, [], [], [], "sha256:test")), seed=1
    )
    params = TransformerParams(epochs=1, batch_size=4, max_tokens=100)

    tuned = fine_tune(
        resolve_backbone(str(tmp_path / "roberta")), *judged, params,
        work=tmp_path / "work", progress=lambda *_: None,
    )  # fmt: skip

    assert tuned.truncation == Truncation(prompt_tokens=32, response_tokens=32)


DISTILBERT = DistilBertConfig(vocab_size=len(WORDS), dim=32, n_layers=1, n_heads=2, hidden_dim=64)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.parametrize(
    "encoder", [RobertaModel(roberta(places=34)), DistilBertModel(DISTILBERT)],
    ids=["roberta", "distilbert"],
)  # fmt: skip
def test_heads_of_several_layers_are_trained_whole_beside_adapters(
    tmp_path: Path, encoder: PreTrainedModel
) -> None:
    encoder.save_pretrained(save_tiny_bert(tmp_path))
    adapting = Adapting(lora_rank=2)
    model, _ = open_pretrained(tmp_path, adapting, seed=1)
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one.copy_(0.1 * torch.randn_like(one))
    ids = torch.tensor([[2, 4, 5, 11, 3]])
    with torch.no_grad():
        expected = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    plain = plain_model(model, tmp_path, adapting, seed=1)

    with torch.no_grad():
        found = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert not [name for name in trained if "classifier" in name and "lora" in name]
    assert len([name for name in trained if "classifier" in name]) == 4  # two layers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft
@pytest.mark.parametrize("save", [save_tiny_bert, save_tiny_llama])
def test_what_was_trained_in_four_bits_is_stored_as_the_model_it_was_trained_in(
    tmp_path: Path, save: Callable[[Path], Path]
) -> None:
    folder = save(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    adapting = Adapting(lora_rank=2, four_bit=True)
    # what is opened in four bits, but for the rounding, which needs a GPU
    whole = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    whole.config.pad_token_id = WORDS.index("[SEP]")
    trained = opening._with_adapters(whole, adapting).eval()
    with torch.no_grad():
        for name, weights in trained.named_parameters():
            if weights.requires_grad:
                weights.copy_(torch.randn_like(weights) * (0.1 if "lora" in name else 1.0))
    ids = torch.tensor([[2, 4, 5, 11, 3]])
    with torch.no_grad():
        expected = trained(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    plain = plain_model(trained, folder, adapting, seed=1)

    with torch.no_grad():
        found = plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
