"""Fine-tuning: transformers' Trainer with our likelihood, from a fitted last layer onwards.

Evaluations on held-out prompt groups pick the step that is kept and end the run when they stop
getting better; on little data a transformer overfits within an epoch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerState,
    TrainingArguments,
)

from services.trainer.callbacks import ProgressReport, StepsWithinEpochs
from services.trainer.checkpoints import best_beside, name_best_here, newest_whole_checkpoint
from services.trainer.launchers import world
from services.trainer.trained import Progress
from services.trainer.transformer.batches import Collator, Ids
from services.trainer.transformer.head_first import (
    FittedHead,
    fit_head,
    frozen_features,
    last_layer,
)
from services.trainer.transformer.judgements import TokenJudgement
from services.trainer.transformer.length_buckets import LengthBuckets
from services.trainer.transformer.model import RewardLikelihood
from shared.errors import ConfigError
from shared.logs import get_logger

HEAD_FILE = "head_first.safetensors"

_THRESHOLD_RATE = 0.01  # cuts are few numbers in nats, and far from where they start


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; see `TransformerParams` for the fields."""

    epochs: int
    batch_size: int
    learning_rate: float
    gradient_accumulation: int
    logging_steps: int
    eval_steps: int
    save_steps: int
    evaluations_per_epoch: int
    patience: int
    seed: int
    bf16: bool

    def evaluate_every(self, judgements: int) -> int:
        """Optimizer steps between two evaluations within an epoch of so many judgements."""
        batches = math.ceil(judgements / (self.batch_size * world.place().world_size))
        steps = math.ceil(batches / self.gradient_accumulation)
        return min(self.eval_steps, max(1, math.ceil(steps / self.evaluations_per_epoch)))


@dataclass(frozen=True)
class Tuned:
    """What a run of `tune` was like.

    Attributes:
        train_loss: mean loss of the optimizer steps, nats, of those since the run was last taken
            up; None without any.
        validation_loss: of the weights that were kept, nats.
        head_loss: of the fitted last layer on untouched features; None when it was not fitted.
        history: what was logged, by optimizer step.
        remembered: what reached the last layer before the first step, each of shape (h,).
    """

    train_loss: float | None
    validation_loss: float
    head_loss: float | None
    history: list[dict[str, float]]
    remembered: dict[Ids, Tensor]


def tune(
    model: RewardLikelihood,
    collator: Collator,
    rows: tuple[Sequence[TokenJudgement], Sequence[TokenJudgement]],
    schedule: Schedule,
    *,
    head_first: bool,
    remember: Sequence[Ids],
    work: Path,
    progress: Progress,
) -> Tuned:
    """Leave `model` with the weights of the best evaluation, the fitted last layer among them.

    Args:
        model: the opened classifier with its thresholds.
        collator: makes the batches.
        rows: judgements to learn from, and those that pick the step.
        schedule: how long and how fast.
        head_first: fit the last layer on frozen features before the first step.
        remember: windows whose features before the first step are handed back.
        work: folder of checkpoints; a killed run goes on from the newest whole one.
        progress: called after each logged step; may raise to stop.

    Raises:
        ConfigError: `head_first` is asked of a model without a single last layer, training
            diverged, or some process of the run would train apart from the others.
    """
    kept, held = rows
    arguments = _arguments(schedule, work)
    world.require_joined(arguments.world_size)
    trainer = _LikelihoodTrainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(kept),
        eval_dataset=_Rows(sorted(held, key=lambda row: row.longest)),
        data_collator=collator,
        callbacks=_callbacks(schedule, len(kept), progress),
    )
    trainer.remove_callback(PrinterCallback)
    head, start = None, dict[str, Tensor]()
    size = schedule.batch_size
    known = _features(model, collator, remember, batch_size=size) if remember else {}
    if head_first:
        fit = partial(fit_head, model, collator, kept, held, batch_size=size, known=known)
        with world.main_first():
            head, start = _fit_or_read_head(model, work, fit), _trained_weights(model)
        progress(0.1, "head", {"eval_loss": head.loss})
    state = _train_to_the_end(trainer, model, _newest_in(work))
    best = math.inf if state.best_metric is None else state.best_metric
    if head and not best < head.loss:
        model.load_state_dict(start, strict=False)  # fine-tuning made nothing better
        best = head.loss
    if not math.isfinite(best):
        raise ConfigError(
            "No evaluation gave a finite loss: training diverged; lower learning_rate."
        )
    return Tuned(
        train_loss=next(
            (one["train_loss"] for one in state.log_history if "train_loss" in one), None
        ),
        validation_loss=float(best),
        head_loss=head.loss if head else None,
        history=state.log_history,
        remembered=known,
    )


def _features(
    model: RewardLikelihood, collator: Collator, windows: Sequence[Ids], *, batch_size: int
) -> dict[Ids, Tensor]:
    read = frozen_features(model, collator, windows, batch_size=batch_size)
    return dict(zip(windows, read.float(), strict=True))


class _Rows(torch.utils.data.Dataset[TokenJudgement]):
    """Judgements as a dataset that keeps them as they are."""

    def __init__(self, rows: Sequence[TokenJudgement]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> TokenJudgement:
        return self.rows[at]


class _LikelihoodTrainer(Trainer):
    """The Trainer with batches by length, a rate of their own for thresholds, and our loss."""

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBuckets:
        rows: Any = train_dataset or self.train_dataset
        lengths = [row.longest for row in rows.rows]
        together = self.args.train_batch_size * self.args.world_size  # of all processes
        return LengthBuckets(lengths, together, seed=self.args.seed)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            inner: Any = self.model
            weights = [one for one in inner.classifier.parameters() if one.requires_grad]
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": weights, "lr": self.args.learning_rate},
                    {"params": list(inner.thresholds.parameters()), "lr": _THRESHOLD_RATE},
                ],
                weight_decay=0.0,
            )
        return self.optimizer

    def prediction_step(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Any:
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = model(**self._prepare_inputs(inputs))["loss"]
        return loss.detach(), None, None


def _callbacks(schedule: Schedule, judgements: int, progress: Progress) -> list[Any]:
    rhythm = StepsWithinEpochs(
        eval_steps=schedule.evaluate_every(judgements), save_steps=schedule.save_steps
    )
    return [rhythm, EarlyStoppingCallback(schedule.patience), ProgressReport(progress)]


def _arguments(schedule: Schedule, work: Path) -> Any:
    has_cuda = torch.cuda.is_available()
    given = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        per_device_eval_batch_size=2 * schedule.batch_size,
        gradient_accumulation_steps=schedule.gradient_accumulation,
        learning_rate=schedule.learning_rate,
        warmup_steps=0.1,
        use_cpu=not has_cuda,
        bf16=schedule.bf16,
        dataloader_pin_memory=has_cuda,
        remove_unused_columns=False,
        label_names=[],
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # how long nothing has become better
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=schedule.logging_steps,
        report_to="none",
        disable_tqdm=True,
        seed=schedule.seed,
    )
    given._n_gpu = min(given.n_gpu, 1)  # DataParallel would cut windows and judgements apart
    return given


def _newest_in(work: Path) -> str | None:
    with world.main_first():
        newest = newest_whole_checkpoint(work)
        if newest is not None:
            name_best_here(Path(newest))
    return newest


def _train_to_the_end(
    trainer: Trainer, model: RewardLikelihood, newest: str | None
) -> TrainerState:
    """Where training ended, with the weights of the best evaluation in the model.

    A run that was killed afterwards is at its end already: going on would look further than it did.
    """
    ended = _ended(Path(newest)) if newest else None
    if newest is None or ended is None:
        trainer.train(resume_from_checkpoint=newest)
        return trainer.state
    get_logger("trainer").info("goes on from a checkpoint", step=ended.global_step)
    best = best_beside(Path(newest))
    if best is not None:
        model.load_state_dict(load_file(best / "model.safetensors"), strict=False)
    return ended


def _ended(checkpoint: Path) -> TrainerState | None:
    """The state in a checkpoint that a run saved when it had come to its end."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    control: Any = state.stateful_callbacks["TrainerControl"]
    return state if control["args"]["should_training_stop"] else None


def _fit_or_read_head(
    model: RewardLikelihood, work: Path, fit: Callable[[], FittedHead]
) -> FittedHead:
    """The fitted last layer; a run that is taken up again starts from the very same one."""
    path = work / HEAD_FILE
    if path.is_file():
        found = load_file(path)
        head = FittedHead(float(found.pop("head_loss")), float(found.pop("head_penalty")))
        model.load_state_dict(found, strict=False)
        return head
    head = fit()
    last = {id(one) for one in last_layer(model.classifier).parameters()}
    fitted = {
        name: one.detach().cpu()
        for name, one in model.named_parameters()
        if id(one) in last or name.startswith("thresholds.")
    }
    numbers = {"head_loss": head.loss, "head_penalty": head.penalty}
    aside = path.with_suffix(".partial")
    save_file(
        fitted
        | {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        aside,
    )
    aside.replace(path)
    return head


def _trained_weights(model: RewardLikelihood) -> dict[str, Tensor]:
    """Copies of everything that training changes."""
    return {
        name: one.detach().cpu().clone()
        for name, one in model.named_parameters()
        if one.requires_grad
    }
