"""The transformer reward model: TRL's RewardTrainer on a sequence classifier with one label.

Pairs are tokenised and truncated here, because TRL drops pairs that are too long and adds an
end-of-sequence token that BERT-type tokenizers do not have. Truncation cuts the prompt first, and
the same code reads pairs when the model is served. A grouped part of the training pairs picks the
step that is kept: fine-tuning on little feedback overfits within an epoch or two.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from services.trainer.backbones import ResolvedBackbone, resolve_backbone
from services.trainer.calibration import fit_calibration
from services.trainer.checkpoints import newest_whole_checkpoint
from services.trainer.examples import MINIMUM_RATED, PreferencePair, RewardDataset, require_judged
from services.trainer.heads import grouped_folds
from services.trainer.reward_artifact import store_reward
from services.trainer.reward_card import plot_progress
from services.trainer.reward_metrics import Metrics
from services.trainer.trained import Progress, TrainedReward, evaluate
from shared.contracts.manifest import Backbone, Calibration, Golden, RewardManifest, Truncation
from shared.errors import NotEnoughData
from shared.ml.folders import sha256_of_backbone
from shared.ml.transformer_scorer import PairTokenizer, TransformerScorer

_FP32_TOLERANCE = 1e-4


class TransformerParams(BaseModel):
    """What `heed train reward` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str = Field("all-MiniLM-L6-v2", description="Model: a name, hub id or folder.")
    min_rated: int = Field(MINIMUM_RATED, ge=2, description="Fewest judgements to train on.")
    good_rating: float = Field(4.0, ge=1, le=5, description="A response is good from here on.")
    epochs: int = Field(3, ge=1, description="Most passes over the training pairs.")
    batch_size: int = Field(16, ge=1, description="Pairs in one optimizer step and device.")
    learning_rate: float = Field(5e-5, gt=0, description="Peak of AdamW, after 10 % warm-up.")
    max_tokens: int = Field(256, ge=16, description="Window of prompt and response together.")
    read_prompt: bool = Field(True, description="Show the prompt to the model.")
    logging_steps: int = Field(100, ge=1, description="Optimizer steps between two reports.")
    eval_steps: int = Field(500, ge=1, description="Evaluate so often, and after each epoch.")
    save_steps: int = Field(500, ge=1, description="Checkpoint so often, and after each epoch.")
    seed: int = Field(42, description="Of weights, order and the validation split.")
    threads: int = Field(1, ge=1, description="Threads on a CPU.")


@dataclass(frozen=True)
class TokenPairs:
    """Pairs as TRL wants them, and what tokenising cost.

    Attributes:
        chosen_ids, rejected_ids: one row of ids a pair, special tokens included.
        truncated: pairs of which some text was cut off.
        dropped: pairs whose two sides look the same in the window.
    """

    chosen_ids: list[list[int]]
    rejected_ids: list[list[int]]
    truncated: int
    dropped: int


def train(
    dataset: RewardDataset,
    params: TransformerParams,
    *,
    output: Path,
    secret: bytes,
    progress: Progress,
    code_version: str,
) -> TrainedReward:
    """Fine-tune on a dataset's train pairs, judge on its test side, and store the artifact.

    Checkpoints lie beside `output` in `<output>.checkpoints`; a run that was killed goes on from
    the newest whole one, and the folder is removed at the end.

    Args:
        dataset: comparisons, split by prompt group.
        params: the recipe's parameters.
        output: the artifact folder, which must not exist.
        secret: the deployment's signing secret.
        progress: called with the fraction done, the stage, and numbers to show.
        code_version: stored in the manifest.

    Raises:
        NotEnoughData: there is too little feedback, or no comparison to learn from.
        ConfigError: the model is not to be had.
        ArtifactError: the model is unsafe, or the folder cannot be written.
    """
    require_judged(dataset, params.min_rated)
    kept, held = validation_split(dataset.train_pairs, seed=params.seed)
    progress(0.0, "model", {})
    source = resolve_backbone(params.base_model)
    work = output.with_name(f"{output.name}.checkpoints")
    work.mkdir(parents=True, exist_ok=True)
    tuned = fine_tune(source, kept, held, params, work=work, progress=progress)
    draft = _draft(dataset, params, source, tuned, code_version)
    calibrated = _calibrate(TransformerScorer(draft, tuned.model, tuned.tokenizer), held)
    draft = draft.model_copy(update={"calibration": calibrated})
    progress(0.9, "evaluate", {})
    scorer = TransformerScorer(draft, tuned.model, tuned.tokenizer)
    evaluation = evaluate(scorer, dataset, good_rating=params.good_rating)
    evaluation = replace(evaluation, metrics=tuned.report | evaluation.metrics)

    def fill(stage: Path) -> None:
        shutil.copytree(tuned.folder, stage, dirs_exist_ok=True, copy_function=shutil.copyfile)
        plot_progress(stage, tuned.history)

    trained = store_reward(output, draft, evaluation, fill=fill, secret=secret)
    shutil.rmtree(work)
    return trained


@dataclass(frozen=True)
class TunedModel:
    """A fine-tuned classifier in memory and, without training state, in a folder."""

    model: Any
    tokenizer: PairTokenizer
    folder: Path
    truncation: Truncation
    separator: str
    report: Metrics
    history: list[dict[str, float]]


def fine_tune(
    source: ResolvedBackbone,
    kept: Sequence[PreferencePair],
    held: Sequence[PreferencePair],
    params: TransformerParams,
    *,
    work: Path,
    progress: Progress,
) -> TunedModel:
    """The classifier at the evaluation with the lowest validation loss.

    Args:
        source: where the pretrained weights are.
        kept: pairs to learn from.
        held: pairs that pick the step.
        params: the recipe's parameters.
        work: folder of checkpoints and of the final weights.
        progress: called after each logged step.

    Raises:
        NotEnoughData: no pair can be told apart within the window.
    """
    import torch

    from services.trainer.callbacks import ProgressReport, StepsWithinEpochs

    torch.set_num_threads(params.threads)
    model, processing = _open_pretrained(source.folder, seed=params.seed)
    folder = work / "model"
    processing.save_pretrained(folder)
    truncation = _truncation(params, model)
    separator = processing.sep_token or "\n\n"
    tokenizer = PairTokenizer(folder, truncation, separator=separator)
    train_rows, valid_rows = token_pairs(tokenizer, kept), token_pairs(tokenizer, held)
    trainer = _build_trainer(model, processing, (train_rows, valid_rows), params, work=work)
    trainer.add_callback(ProgressReport(progress))
    trainer.add_callback(
        StepsWithinEpochs(eval_steps=params.eval_steps, save_steps=params.save_steps)
    )
    result = trainer.train(resume_from_checkpoint=newest_whole_checkpoint(work))
    model = trainer.model.cpu().eval()
    model.save_pretrained(folder)
    report = _report(train_rows, valid_rows, result.training_loss, trainer.state.best_metric)
    return TunedModel(
        model, tokenizer, folder, truncation, separator, report, trainer.state.log_history
    )


def validation_split(
    pairs: Sequence[PreferencePair], *, seed: int
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Training pairs and about a fifth of the prompt groups that pick the step.

    Raises:
        NotEnoughData: there are no comparisons, or all are on one prompt.
    """
    if not pairs:
        raise NotEnoughData(
            "The transformer learns from comparisons only and there are none; "
            "collect preferences, rate several responses to one prompt, or train the embedding."
        )
    _, groups = np.unique(np.array([pair.group for pair in pairs]), return_inverse=True)
    kept, held = next(grouped_folds(groups, seed=seed))
    return [pairs[at] for at in kept], [pairs[at] for at in held]


def token_pairs(tokenizer: PairTokenizer, pairs: Sequence[PreferencePair]) -> TokenPairs:
    """Ids of both sides of each pair that still differ inside the window.

    Raises:
        NotEnoughData: none do.
    """
    windows = tokenizer.windows([side for pair in pairs for side in pair.sides])
    both = list(zip(windows[0::2], windows[1::2], strict=True))
    distinct = [(left, right) for left, right in both if left.ids != right.ids]
    if not distinct:
        raise NotEnoughData("No comparison differs inside the model's window; raise --max-tokens.")
    return TokenPairs(
        chosen_ids=[left.ids for left, _ in distinct],
        rejected_ids=[right.ids for _, right in distinct],
        truncated=sum(left.truncated or right.truncated for left, right in distinct),
        dropped=len(both) - len(distinct),
    )


def _open_pretrained(folder: Path, *, seed: int) -> tuple[Any, Any]:
    """A classifier with one fresh output and its tokenizer; never runs code of the folder."""
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    quiet: Any = transformers.utils.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    set_seed(seed)  # the new output layer is random
    safe = {"trust_remote_code": False, "local_files_only": True}
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, use_safetensors=True, dtype="float32", **safe
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def _build_trainer(
    model: Any,
    processing: Any,
    rows: tuple[TokenPairs, TokenPairs],
    params: TransformerParams,
    *,
    work: Path,
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.reward_trainer import RewardTrainer

    trainer: Any = RewardTrainer(
        model=model,
        args=_reward_config(params, work, device_has_cuda=torch.cuda.is_available()),
        train_dataset=Dataset.from_dict(_columns(rows[0])),
        eval_dataset=Dataset.from_dict(_columns(rows[1])),
        processing_class=processing,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _truncation(params: TransformerParams, model: Any) -> Truncation:
    limit = getattr(model.config, "max_position_embeddings", None) or params.max_tokens
    window = min(params.max_tokens, limit)
    return Truncation(prompt_tokens=window if params.read_prompt else 0, response_tokens=window)


def _reward_config(params: TransformerParams, work: Path, *, device_has_cuda: bool) -> Any:
    from trl.trainer.reward_config import RewardConfig

    return RewardConfig(
        output_dir=str(work),
        num_train_epochs=params.epochs,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        warmup_steps=0.1,
        center_rewards_coefficient=0.01,  # arXiv:2312.09244, as TRL recommends
        max_length=None,  # RewardConfig would drop long pairs; they are cut in `token_pairs`
        use_cpu=not device_has_cuda,
        bf16=device_has_cuda,
        dataloader_pin_memory=device_has_cuda,
        activation_checkpointing=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=params.logging_steps,
        report_to="none",
        disable_tqdm=True,
        seed=params.seed,
    )


def _columns(rows: TokenPairs) -> dict[str, list[list[int]]]:
    return {"chosen_ids": rows.chosen_ids, "rejected_ids": rows.rejected_ids}


def _report(kept: TokenPairs, held: TokenPairs, loss: float, best: float | None) -> Metrics:
    return {
        "train_loss": float(loss),
        "validation_loss": best,
        "validation_pairs": len(held.chosen_ids),
        "pairs_truncated": kept.truncated + held.truncated,
        "pairs_dropped": kept.dropped + held.dropped,
    }


def _calibrate(scorer: TransformerScorer, held: Sequence[PreferencePair]) -> Calibration:
    """Platt on the validation pairs, whose groups were not trained on."""
    rewards = scorer.score([side for pair in held for side in pair.sides]).reward
    return fit_calibration(rewards, np.tile([1.0, 0.0], len(held)))


def _draft(
    dataset: RewardDataset,
    params: TransformerParams,
    source: ResolvedBackbone,
    tuned: TunedModel,
    code_version: str,
) -> RewardManifest:
    return RewardManifest(
        kind="transformer",
        mode="transformer",
        template="pair",
        separator=tuned.separator,
        truncation=tuned.truncation,
        backbone=Backbone(
            name=source.name,
            revision=source.revision,
            sha256=sha256_of_backbone(tuned.folder),
            path=".",
            engine="transformers-fp32",
            dim=1,
        ),
        calibration=Calibration(slope=1.0, intercept=0.0, method="none"),
        metrics={},
        parameters=params.model_dump() | {"base_model": source.name},
        dataset_snapshot=dataset.snapshot_hash,
        code_version=code_version,
        created_at=datetime.now(UTC),
        golden=Golden(rows=120, tolerance=_FP32_TOLERANCE),
        files={},
    )
