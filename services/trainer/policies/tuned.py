"""TRL's trainers under our roof: the same arguments, checkpoints, progress and end for all.

Texts are tokenised and cut here, so TRL's own preparation, which drops or cuts without a word, is
left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from services.trainer.callbacks import ProgressReport
from services.trainer.checkpoints import newest_whole_checkpoint
from services.trainer.launchers import world
from services.trainer.policies.opening import can_bf16, merged
from services.trainer.policies.params import PolicyParams
from services.trainer.reward_metrics import Metrics
from services.trainer.trained import Progress

ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TunedPolicy:
    """A policy after training.

    Attributes:
        model: the causal language model, adapters folded in.
        metrics: what the recipe measured, on the held-out side where its names say so.
        history: what was logged, by step.
    """

    model: Any
    metrics: Mapping[str, float | int | str | None]
    history: Sequence[Mapping[str, float]]


def steps_over(examples: int, params: PolicyParams) -> int:
    """Optimizer steps of `epochs` over so many examples, in all processes together."""
    batches = math.ceil(examples / (params.batch_size * world.place().world_size))
    return params.epochs * math.ceil(batches / params.gradient_accumulation)


def arguments(params: PolicyParams, work: Path, *, steps: int) -> dict[str, Any]:
    """What every TRL configuration is told, for a run of so many optimizer steps."""
    has_cuda = torch.cuda.is_available()
    return {
        "output_dir": str(work),
        "num_train_epochs": params.epochs,
        "per_device_train_batch_size": params.batch_size,
        "per_device_eval_batch_size": params.batch_size,
        "gradient_accumulation_steps": params.gradient_accumulation,
        "learning_rate": params.learning_rate,
        "warmup_steps": steps // 10,  # the first of them is of rate 0: none where steps are few
        "use_cpu": not has_cuda,
        "bf16": can_bf16(params),
        "activation_checkpointing": params.gradient_checkpointing,
        "dataloader_pin_memory": has_cuda,
        "remove_unused_columns": False,
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": params.save_steps,
        "save_total_limit": 2,
        "logging_steps": params.logging_steps,
        "report_to": "none",  # trackers hear of it through `progress`, as with our own PPO
        "disable_tqdm": True,
        "seed": params.seed,
    }


def newest_checkpoint(params: PolicyParams, work: Path) -> str | None:
    """Where an earlier attempt of a run had come; None when it left nothing."""
    weights = ADAPTER_WEIGHTS if params.lora_rank else MODEL_WEIGHTS
    return newest_whole_checkpoint(work, weights=weights)


def quiet(trainer: Any) -> Any:
    """The trainer without its prints: what it says goes through `progress`."""
    world.require_joined(trainer.args.world_size)
    trainer.remove_callback(PrinterCallback)
    return trainer


def run(
    trainer: Any, params: PolicyParams, work: Path, progress: Progress, *more: TrainerCallback
) -> list[dict[str, float]]:
    """Train to the end, from the newest whole checkpoint if there is one; what was logged."""
    for callback in (*more, ProgressReport(progress), _SaveTheEnd()):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=newest_checkpoint(params, work))
    return numbers_only(trainer.state.log_history)


def tuned(
    trainer: Any,
    metrics: Mapping[str, float | int | str | None],
    history: Sequence[Mapping[str, float]],
) -> TunedPolicy:
    """What a trainer leaves, in one piece."""
    plain = trainer.accelerator.unwrap_model(trainer.model)
    return TunedPolicy(merged(plain), metrics, history)


def taking_ids(trainer_class: Any) -> Any:
    """A trainer of TRL that takes rows of ids as they are."""

    class Trainer(trainer_class):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    return Trainer


def held_margin(trainer: Any, held: int) -> Metrics:
    """How much more the policy now likes what people liked, of `held` held-out examples.

    In nats times beta; it is 0 before training.
    """
    if not held:
        return {"held_examples": 0}
    found = trainer.evaluate()
    names = {"held_margin": "eval_rewards/margins", "held_accuracy": "eval_rewards/accuracies"}
    known = {ours: float(found[theirs]) for ours, theirs in names.items() if theirs in found}
    return {"held_examples": held, "held_loss_after": float(found["eval_loss"]), **known}


def numbers_only(history: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Logged rows without what is no number."""
    return [
        {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
        for row in history
    ]


class _SaveTheEnd(TrainerCallback):
    """Keeps the last step too: a run that is killed while it is judged need not train again."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = True
