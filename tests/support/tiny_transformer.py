"""A transformer reward model of a few hundred kilobytes, as an artifact and in memory."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from shared.contracts.manifest import Backbone, Calibration, RewardManifest, Truncation
from shared.ml.artifact import write_artifact
from shared.ml.backbones import default_encoder_folder
from shared.ml.classifiers import PlainClassifier
from shared.ml.folders import sha256_of_backbone
from shared.ml.golden import FP32_GOLDEN
from shared.ml.transformer_scorer import TransformerScorer
from shared.ml.windows import PairTokenizer

_WINDOW = Truncation(prompt_tokens=64, response_tokens=64)


def tiny_transformer(
    folder: Path, *, secret: bytes, model: BertForSequenceClassification | None = None
) -> TransformerScorer:
    """Write an artifact with random weights to `folder`; gives the scorer it was written from."""
    aside = folder.with_name(f"{folder.name}.weights")
    model = model or _model()
    model.save_pretrained(aside)
    shutil.copy(default_encoder_folder() / "tokenizer.json", aside)
    draft = _manifest(sha256_of_backbone(aside))

    def fill(stage: Path) -> None:
        shutil.copytree(aside, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)

    manifest = write_artifact(folder, draft, fill=fill, secret=secret)
    tokenizer = PairTokenizer(aside, _WINDOW, separator=draft.separator)
    return TransformerScorer(manifest, PlainClassifier(model), tokenizer)


def _model() -> BertForSequenceClassification:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def _manifest(sha256: str) -> RewardManifest:
    return RewardManifest(
        kind="transformer",
        mode="transformer",
        template="pair",
        separator="[SEP]",
        truncation=_WINDOW,
        backbone=Backbone(
            name="tiny", revision=None, sha256=sha256, path=".", engine="transformers-fp32", dim=1
        ),
        calibration=Calibration(slope=1.0, intercept=0.0, method="none"),
        metrics={},
        parameters={},
        dataset_snapshot="sha256:test",
        code_version="test",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        golden=FP32_GOLDEN,
        files={},
    )
