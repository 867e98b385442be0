"""What GRPO and RLOO share: several responses to each prompt, judged on their text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from services.trainer.launchers import world
from services.trainer.policies.data import PolicyData
from services.trainer.policies.generation import unpenalised
from services.trainer.policies.opening import Opened, lora_of
from services.trainer.policies.order import order_of
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.rewards import Rewards
from services.trainer.policies.text import PolicyText
from services.trainer.policies.tuned import (
    TunedPolicy,
    arguments,
    newest_checkpoint,
    quiet,
    run,
    tuned,
)
from services.trainer.trained import Progress
from shared.errors import InvalidInput


class GroupedParams(OnlineParams):
    """What recipes of several responses to each prompt are told; a batch is of prompts."""

    learning_rate: float = Field(1e-6, gt=0, description="Peak of AdamW.")
    group_size: int = Field(8, ge=2, description="Responses to each prompt.")
    beta: float = Field(0.04, ge=0, description="How strongly the policy is kept near its start.")


def train_grouped(
    kinds: tuple[Any, Any],
    opened: Opened,
    data: PolicyData,
    params: GroupedParams,
    *,
    rewards: Rewards,
    work: Path,
    progress: Progress,
) -> TunedPolicy:
    """The policy after all batches, or at its KL budget; a killed run goes on exactly.

    Args:
        kinds: TRL's trainer and its configuration.
        opened: the policy to start from.
        data: prompts to respond to.
        params: the recipe's parameters.
        rewards: what judges responses.
        work: folder of checkpoints.
        progress: called after each step.

    Raises:
        InvalidInput: a KL budget without beta, which is what makes TRL measure the distance.
        Unavailable: a reward gives no number.
    """
    if params.kl_budget and not params.beta:
        raise InvalidInput("kl_budget needs a beta above 0: without it no distance is measured.")
    prompts = data.train.prompts
    at_once = params.batch_size * params.gradient_accumulation * world.place().world_size
    steps = _spent_at(params, work) or params.batches(len(prompts), at_once)
    trainer_class, config_class = kinds
    with unpenalised(opened.model):
        opened.model.generation_config.eos_token_id = opened.text.end
        trainer = quiet(
            _reading(trainer_class, opened.text)(
                opened.model,
                reward_funcs=_on_texts(rewards),
                args=config_class(**_arguments(params, work, steps)),
                train_dataset=_rows(prompts, steps * at_once, params),
                processing_class=opened.text.tokenizer,
                peft_config=lora_of(params),
            )
        )
        budget = [_WithinBudget(params.kl_budget)] if params.kl_budget else []
        history = run(trainer, params, work, progress, *budget)
    cut = sum(opened.text.prompt(one).is_cut for one in prompts)
    counts = {"prompts": len(prompts), "prompts_truncated": cut, "prompts_a_step": at_once}
    return tuned(trainer, counts | {"steps": trainer.state.global_step}, history)


def _arguments(params: GroupedParams, work: Path, steps: int) -> dict[str, Any]:
    """What TRL's configuration is told; a batch of its own is one prompt's responses."""
    return arguments(params, work, steps=steps) | {
        "per_device_train_batch_size": params.group_size,
        "gradient_accumulation_steps": params.batch_size * params.gradient_accumulation,
        # What is measured between two reports dies with a killed run, and may not end another.
        "logging_steps": 1 if params.kl_budget else params.logging_steps,
        "max_steps": steps,
        "shuffle_dataset": False,
        "num_generations": params.group_size,
        "max_completion_length": params.max_response_tokens,
        "temperature": params.temperature,
        "beta": params.beta,
    }


def _rows(prompts: Sequence[str], wanted: int, params: GroupedParams) -> Any:
    """The prompts of the whole run, one after another: for TRL it is a single epoch."""
    from datasets import Dataset

    order = order_of(len(prompts), wanted, seed=params.seed)
    return Dataset.from_dict({"prompt": list(prompts)}).select(order)


def _spent_at(params: GroupedParams, work: Path) -> int | None:
    """The step at which an earlier attempt had used its KL budget up; None before that."""
    newest = newest_checkpoint(params, work)
    if newest is None or not params.kl_budget:
        return None
    state = TrainerState.load_from_json(str(Path(newest, TRAINER_STATE_NAME)))
    rows = [row for row in state.log_history if "kl" in row]
    return state.global_step if rows and _distance(rows[-1]) > params.kl_budget else None


def _reading(trainer_class: Any, text: PolicyText) -> Any:
    class Trainer(trainer_class):  # type: ignore[misc]
        """Reads prompts as every part of ours does."""

        def _tokenize_prompts(self, prompts: Sequence[str]) -> tuple[list[list[int]], None, Any]:
            return [text.prompt(prompt).ids for prompt in prompts], None, {}

    return Trainer


def _on_texts(rewards: Rewards) -> Any:
    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        found: list[float] = rewards(prompts, [one.strip() for one in completions]).tolist()
        return found

    return reward


class _WithinBudget(TrainerCallback):
    """Ends the run once the policy has left its start by so much."""

    def __init__(self, nats: float) -> None:
        self._nats = nats

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if _distance(logs or {}) > self._nats:
            control.should_training_stop = control.should_save = True


def _distance(logs: Mapping[str, Any]) -> float:
    """How far the policy is from its start by what was logged, nats a response."""
    return float(logs.get("kl", 0.0) * logs.get("completions/mean_length", 0.0))
