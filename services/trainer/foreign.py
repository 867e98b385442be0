"""Reward models that were made elsewhere: which of them can be served, and how they are read."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.reward_metrics import Metrics
from services.trainer.reward_params import RewardParams
from services.trainer.turn_marks import turn_marks
from shared.contracts.manifest import (
    Backbone,
    Calibration,
    RewardManifest,
    Template,
    Truncation,
)
from shared.errors import ArtifactError
from shared.ml.folders import read_json, sha256_of_backbone
from shared.ml.golden import FP32_GOLDEN
from shared.ml.scorer import Pair
from shared.ml.transformer_engine import REFERENCE
from shared.ml.transformer_scorer import TransformerScorer, open_transformer_scorer

_TAIL = "ForSequenceClassification"
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "config.json")
_SAFE = {"trust_remote_code": False, "local_files_only": True}
_TRIAL = [Pair("What lowers it?", "Less salt."), Pair("word " * 9000, "Go away, said the sea.")]


class AddedParams(RewardParams):
    """What `heed models add` can be told."""

    model: str = Field(description="Folder or hub id of a classifier with one output.")
    template: Literal["chat", "pair"] | None = Field(
        None, description="Unset: `chat` where the model's tokenizer has a chat template."
    )
    max_tokens: int = Field(2048, ge=16, description="Window of prompt and response together.")


@dataclass(frozen=True)
class Foreign:
    """A model that was made elsewhere, ready to be stored.

    Attributes:
        folder: what an artifact holds of it: weights, configuration, tokenizer, chat template.
        draft: its manifest, without calibration, metrics and dataset.
        scorer: it, in memory.
        marks: what is known of the marks of its chat template.
    """

    folder: Path
    draft: RewardManifest
    scorer: TransformerScorer
    marks: Metrics

    def copy_to(self, stage: Path) -> None:
        """Put its files into an artifact folder in the making."""
        shutil.copytree(self.folder, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)


def open_foreign(params: AddedParams, folder: Path, *, code_version: str) -> Foreign:
    """A model as somebody else published it, once it is known to be one that can be served.

    Args:
        params: which model, and how it is read.
        folder: where its files are put; it must not exist.
        code_version: for the manifest.

    Raises:
        ConfigError: the model is neither on disk nor to be had from the hub.
        ArtifactError: it could run code, has no score head, or cannot be read as asked; the
            message says what to do.
    """
    source = resolve_backbone(params.model, option="")
    _refuse_other_models(source)
    tokenizer = _copied(source, folder)
    has_template = getattr(tokenizer, "chat_template", None) is not None
    template: Template = params.template or ("chat" if has_template else "pair")
    window = _window(params, folder, tokenizer.model_max_length)
    draft = _draft(params, source, folder, template=template, window=window, code=code_version)
    scorer = open_transformer_scorer(folder, draft, threads=params.threads)
    backbone = draft.backbone.model_copy(update={"engine": scorer.engine})
    draft = draft.model_copy(update={"backbone": backbone})
    _refuse_without_head(folder)
    _refuse_without_rewards(scorer, source.name)
    return Foreign(folder, draft, scorer, turn_marks(folder, template))


def _refuse_other_models(source: ResolvedBackbone) -> None:
    """Pass a classifier with one output, by its configuration."""
    name = source.name
    if (source.folder / "adapter_config.json").is_file():
        raise ArtifactError(
            f"{name} holds adapters only; merge them into their model (peft: merge_and_unload) "
            "and add the merged folder."
        )
    said = read_json(source.folder / "config.json")
    kinds = said.get("architectures")
    kind = str(kinds[0]) if isinstance(kinds, list) and kinds else "model of no named architecture"
    if not kind.endswith(_TAIL):
        raise ArtifactError(
            f"{name} is a {kind} and has no score head; add a …{_TAIL} with one label, or train "
            f"a reward model on it: heed train reward --base-model {name}."
        )
    if "quantization_config" in said:
        raise ArtifactError(
            f"The weights of {name} are quantised; add the model in bf16 or fp32 as its authors "
            "published it."
        )
    outputs = _config(source.folder).num_labels
    if outputs != 1:
        raise ArtifactError(
            f"{name} has {outputs} outputs and a reward model has one; add a version with one "
            f"label, or train one on it: heed train reward --base-model {name}."
        )
    if not list(source.folder.glob("model*.safetensors")):
        raise ArtifactError(
            f"{name} has no model.safetensors; convert its weights with save_pretrained of "
            "transformers."
        )


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, **_SAFE)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"The architecture in {folder}/config.json is not one that transformers knows "
            f"({type(error).__name__}); models that bring code of their own are never run."
        ) from None


def _copied(source: ResolvedBackbone, folder: Path) -> Any:
    """Put the files that are read into a folder; gives the tokenizer."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True)
    for pattern in _WEIGHTS:
        for path in source.folder.glob(pattern):
            shutil.copyfile(path, folder / path.name)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source.folder, **_SAFE)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ArtifactError(
            f"{source.name} has no tokenizer that can be opened ({type(error).__name__}); save it "
            "into the model's folder as a fast tokenizer."
        ) from None
    tokenizer.save_pretrained(folder)
    return tokenizer


def _window(params: AddedParams, folder: Path, most: int) -> Truncation:
    """The window asked for, as far as model and tokenizer go."""
    config = _config(folder).get_text_config()
    places = getattr(config, "max_position_embeddings", None) or params.max_tokens
    window = min(params.max_tokens, places, most)
    return Truncation(prompt_tokens=window, response_tokens=window)


def _refuse_without_head(folder: Path) -> None:
    """Pass a folder that holds every weight: what is missing would be drawn at random."""
    from transformers import AutoModelForSequenceClassification

    _, found = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, device_map="meta", **_SAFE
    )
    missing = sorted(found["missing_keys"])
    if missing:
        raise ArtifactError(
            f"The weights lack {missing[0]}, so its rewards would be drawn at random; this is no "
            "finished reward model."
        )


def _refuse_without_rewards(scorer: TransformerScorer, name: str) -> None:
    try:
        with np.errstate(invalid="ignore"):
            rewards = scorer.score(_TRIAL).reward
    except (IndexError, RuntimeError) as error:
        raise ArtifactError(
            f"{name} cannot read a window of {scorer.manifest.truncation.response_tokens} tokens "
            f"({type(error).__name__}); give it fewer with --max-tokens."
        ) from None
    if not np.isfinite(rewards).all() or rewards[0] == rewards[1]:
        raise ArtifactError(
            f"{name} gives two different responses the rewards {rewards[0]:g} and "
            f"{rewards[1]:g}; its weights are of no use."
        )


def _draft(
    params: AddedParams,
    source: ResolvedBackbone,
    folder: Path,
    *,
    template: Template,
    window: Truncation,
    code: str,
) -> RewardManifest:
    return RewardManifest(
        kind="transformer",
        mode="added",
        template=template,
        truncation=window,
        backbone=Backbone(
            name=source.name,
            revision=source.revision,
            sha256=sha256_of_backbone(folder),
            path=".",
            engine=REFERENCE.name,
            dim=1,
        ),
        calibration=Calibration(slope=1.0, intercept=0.0, method="none"),
        metrics={},
        parameters=params.model_dump() | {"model": source.name},
        dataset_snapshot="",
        code_version=code,
        created_at=datetime.now(UTC),
        golden=FP32_GOLDEN,
        files={},
    )
