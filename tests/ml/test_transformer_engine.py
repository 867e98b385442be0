"""Rewards of models that other people made, alone and in batches, in fp32 and in bf16."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.tiny_chat import FAMILIES, save_tiny_chat
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
)
from transformers.pytorch_utils import Conv1D

from services.trainer.foreign import AddedParams, Foreign, open_foreign
from shared.errors import ArtifactError
from shared.ml.artifact import open_scorer, read_manifest, write_artifact
from shared.ml.classifiers import PlainClassifier
from shared.ml.golden import check_golden
from shared.ml.scorer import Pair
from shared.ml.transformer_engine import (
    CUDA_BF16,
    REFERENCE,
    TransformerEngine,
    engine_for,
    placed,
)
from shared.ml.transformer_scorer import TransformerScorer, open_transformer_scorer
from shared.ml.windows import open_windows

PAIRS = [
    Pair(f"What lowers it, {'salt ' * (at % 7)}case {at}?", "Less of it. " * (at % 5) + str(at))
    for at in range(64)
]
Floats = NDArray[np.float64]

BATCHED = TransformerEngine("transformers-fp32", batch_tokens=700)


@pytest.fixture(scope="module", params=FAMILIES)
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """A model of each family as it is added."""
    return added(tmp_path_factory.mktemp(request.param), request.param)


def added(home: Path, family: str, **config: object) -> Foreign:
    source = save_tiny_chat(home / "published", family, **config)
    return open_foreign(AddedParams(model=str(source)), home / "added", code_version="test")


@pytest.fixture(scope="module")
def alone(foreign: Foreign) -> Floats:
    """The rewards of all pairs, each scored by itself."""
    return in_batches_of(1, foreign.scorer)


def on(
    engine: TransformerEngine,
    foreign: Foreign,
    change: Callable[[torch.nn.Module], None] = lambda _: None,
) -> TransformerScorer:
    """The model on another engine, its layers changed."""
    draft = foreign.draft
    model = AutoModelForSequenceClassification.from_pretrained(foreign.folder, dtype=torch.float32)
    model.apply(change)
    windows = open_windows(
        foreign.folder, draft.template, draft.truncation, separator=draft.separator
    )
    return TransformerScorer(draft, PlainClassifier(model, engine), windows)


def test_a_published_model_gives_the_rewards_its_authors_get(foreign: Foreign) -> None:
    tokenizer = AutoTokenizer.from_pretrained(foreign.folder)
    model = AutoModelForSequenceClassification.from_pretrained(foreign.folder, dtype=torch.float32)
    rows = [
        tokenizer.apply_chat_template(
            [
                {"role": "user", "content": pair.prompt},
                {"role": "assistant", "content": pair.response},
            ],
            return_tensors="pt",
            return_dict=False,
        )
        for pair in PAIRS[:8]
    ]
    with torch.no_grad():
        expected = [float(model.eval()(input_ids=row).logits[0, 0]) for row in rows]

    scores = foreign.scorer.score(PAIRS[:8])

    assert foreign.draft.template == "chat"
    assert scores.reward == pytest.approx(expected, abs=1e-6)
    assert scores.tokens.tolist() == [row.shape[1] for row in rows]


def in_batches_of(size: int, scorer: TransformerScorer) -> Floats:
    return np.concatenate(
        [scorer.score(PAIRS[at : at + size]).reward for at in range(0, len(PAIRS), size)]
    )


def test_a_reward_on_a_cpu_is_the_same_in_any_batch(foreign: Foreign, alone: Floats) -> None:
    others = [in_batches_of(size, foreign.scorer) for size in (8, 64)]

    assert [other.tolist() for other in others] == [alone.tolist()] * 2
    assert len(set(alone.tolist())) == 64


def test_padding_moves_no_reward_by_more_than_fp32_promises(
    foreign: Foreign, alone: Floats
) -> None:
    scorer = on(BATCHED, foreign)

    rewards = [in_batches_of(size, scorer) for size in (1, 8, 64)]

    assert np.abs(np.array(rewards) - alone).max() <= 1e-5


def test_vectors_come_in_the_order_of_the_pairs_in_batches_too(foreign: Foreign) -> None:
    rewards, vectors = foreign.scorer.rewards_and_vectors(PAIRS)

    batched = on(BATCHED, foreign).rewards_and_vectors(PAIRS)

    assert np.abs(batched[0] - rewards).max() <= 1e-5
    assert np.abs(batched[1] - vectors).max() <= 1e-4


def test_bf16_keeps_the_last_layer_in_fp32_and_the_order_of_rewards(
    foreign: Foreign, alone: Floats
) -> None:
    scorer = on(replace(CUDA_BF16, device="cpu", batch_tokens=700), foreign)

    rewards = scorer.score(PAIRS).reward

    assert np.corrcoef(rewards, alone)[0, 1] > 0.99
    assert len(set(rewards.tolist())) > 60  # bf16 itself would tie some


def test_bf16_rounds_neither_the_last_layer_nor_how_fast_positions_turn(tmp_path: Path) -> None:
    folder = added(tmp_path, "qwen2").folder
    exact, rounded = (
        AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        for _ in range(2)
    )

    placed(rounded, replace(CUDA_BF16, device="cpu"))

    assert torch.equal(rounded.score.weight, exact.score.weight)
    turning = {name: rate for name, rate in exact.named_buffers() if "inv_freq" in name}
    assert turning
    assert all(torch.equal(rounded.get_buffer(name), rate) for name, rate in turning.items())
    assert rounded.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_golden_rows_tell_a_coarser_engine_from_other_weights(tmp_path: Path, family: str) -> None:
    foreign = added(tmp_path, family, initializer_range=0.2)
    bf16 = replace(CUDA_BF16, device="cpu")
    folder = tmp_path / "model"
    write_artifact(folder, foreign.draft, fill=foreign.copy_to, secret=b"a secret of the tests")
    manifest = read_manifest(folder, secret=b"a secret of the tests")

    check_golden(folder, on(bf16, foreign).told_by(manifest))
    with pytest.raises(ArtifactError, match="golden rows"):
        check_golden(folder, on(bf16, foreign, _drawn_anew).told_by(manifest))


def _drawn_anew(layer: torch.nn.Module) -> None:
    if isinstance(layer, torch.nn.Linear | Conv1D):
        torch.nn.init.normal_(layer.weight, std=0.4)


def test_batches_hold_windows_of_about_one_length_and_no_more_than_they_may(
    tmp_path: Path,
) -> None:
    scorer = on(BATCHED, added(tmp_path, "qwen2"))
    windows = scorer._tokenizer.windows(PAIRS)

    padded = list(BATCHED.batches(windows, pad=0))
    exact = list(BATCHED.batches(windows, pad=None))
    alone = list(REFERENCE.batches(windows, pad=0))

    for batches in (padded, exact, alone):
        places = [at for rows, _ in batches for at in rows]
        assert sorted(places) == list(range(64))
        assert all(batch["input_ids"].numel() <= 700 for _, batch in batches)
    assert len(padded) < len(exact) < len(alone) == 64
    assert all(batch["attention_mask"].all() for _, batch in exact)


def test_without_a_gpu_every_engine_is_the_reference(tmp_path: Path) -> None:
    foreign = added(tmp_path, "llama")

    engines = [
        open_transformer_scorer(foreign.folder, foreign.draft, engine=name).engine
        for name in ("auto", "fp32", "bf16", "fitted")
    ]

    expected = (CUDA_BF16 if torch.cuda.is_available() else REFERENCE).name
    assert engines == [expected, REFERENCE.name, expected, REFERENCE.name]
    assert engine_for("fp32").name == "transformers-fp32"
    assert CUDA_BF16.name == "transformers-cuda-bf16"


def test_a_transformer_is_not_served_in_int8(tmp_path: Path) -> None:
    foreign = added(tmp_path, "llama")

    with pytest.raises(ArtifactError, match="cannot be served on int8; choose auto or bf16"):
        open_scorer(foreign.folder, foreign.draft, engine="int8")


def test_a_cross_encoder_reads_both_texts_as_its_own_tokenizer_lays_them_out(
    tmp_path: Path, published_bert: Callable[[Path], Path]
) -> None:
    source = published_bert(tmp_path / "published")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    with torch.no_grad():
        read = tokenizer("what lowers it", "less salt", return_tensors="pt")
        expected = float(model(**read).logits[0, 0])

    foreign = open_foreign(AddedParams(model=str(source)), tmp_path / "added", code_version="test")

    assert read["token_type_ids"].sum() > 0
    assert foreign.draft.template == "pair"
    rewards = foreign.scorer.score([Pair("what lowers it", "less salt")]).reward
    assert rewards[0] == pytest.approx(expected, abs=1e-6)
    batched = on(BATCHED, foreign).score([Pair("what lowers it", "less salt"), *PAIRS]).reward
    assert batched[0] == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def published_bert() -> Callable[[Path], Path]:
    """Writes a cross-encoder that was trained with types of tokens."""

    def save(folder: Path) -> Path:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "lowers", "it", "less",
                 "salt", "of"]  # fmt: skip
        tokenizer = BertTokenizer(vocab={word: at for at, word in enumerate(words)})
        tokenizer.save_pretrained(folder)
        torch.manual_seed(5)
        config = BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=48, max_position_embeddings=128, num_labels=1, initializer_range=0.4,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder

    return save
