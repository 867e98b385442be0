"""What GRPO and RLOO share: several responses to each prompt, judged on their text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field
from transformers import TrainerCallback

from services.trainer.policies.data import PolicyData
from services.trainer.policies.opening import Opened, lora_of
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.rewards import Rewards
from services.trainer.policies.text import PolicyText
from services.trainer.policies.tuned import TunedPolicy, arguments, quiet, run, tuned
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
    """The policy after all batches, or at its KL budget.

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
    from datasets import Dataset

    if params.kl_budget and not params.beta:
        raise InvalidInput("kl_budget needs a beta above 0: without it no distance is measured.")
    trainer_class, config_class = kinds
    prompts = data.train.prompts
    told = arguments(params, work) | {
        "per_device_train_batch_size": params.group_size,
        "gradient_accumulation_steps": params.batch_size * params.gradient_accumulation,
    }
    opened.model.generation_config.eos_token_id = opened.text.end
    trainer = quiet(
        _reading(trainer_class, opened.text)(
            opened.model,
            reward_funcs=_on_texts(rewards),
            args=config_class(
                **told,
                max_steps=params.batches(len(prompts)),
                num_generations=params.group_size,
                max_completion_length=params.max_response_tokens,
                temperature=params.temperature,
                beta=params.beta,
            ),
            train_dataset=Dataset.from_dict({"prompt": list(prompts)}),
            processing_class=opened.text.tokenizer,
            peft_config=lora_of(params),
        )
    )
    budget = [_WithinBudget(params.kl_budget)] if params.kl_budget else []
    history = run(trainer, params, work, progress, *budget)
    cut = sum(opened.text.prompt(one).is_cut for one in prompts)
    metrics = {
        "prompts": len(prompts),
        "prompts_truncated": cut,
        "steps": trainer.state.global_step,
    }
    return tuned(trainer, metrics, history)


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
        said = logs or {}
        if said.get("kl", 0.0) * said.get("completions/mean_length", 0.0) > self._nats:
            control.should_training_stop = control.should_save = True
