"""What every policy recipe is told; each recipe adds its own."""

import math

from pydantic import BaseModel, ConfigDict, Field


class PolicyParams(BaseModel):
    """Parameters that all policy recipes share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str = Field("gpt2", description="Policy to start from: a name, hub id or folder.")
    epochs: int = Field(1, ge=1, description="Passes over the training data.")
    batch_size: int = Field(8, ge=1, description="Examples in one batch and device.")
    gradient_accumulation: int = Field(1, ge=1, description="Batches in one optimizer step.")
    learning_rate: float = Field(1e-5, gt=0, description="Peak of AdamW.")
    max_prompt_tokens: int = Field(256, ge=8, description="Longer prompts lose their beginning.")
    max_response_tokens: int = Field(128, ge=2, description="Longer responses lose their end.")
    lora_rank: int = Field(0, ge=0, description="Train LoRA adapters of this rank; 0: all weights.")
    bf16: bool | None = Field(None, description="Mixed precision; unset: where a GPU has it.")
    gradient_checkpointing: bool = Field(False, description="Half the memory, a third slower.")
    seed: int = Field(42, ge=0, description="Of order, sampling and new weights.")
    threads: int = Field(1, ge=1, description="Processor threads; one for tiny models.")
    logging_steps: int = Field(10, ge=1, description="Optimizer steps between two reports.")
    save_steps: int = Field(50, ge=1, description="Checkpoint so often.")
    min_rated: int = Field(50, ge=0, description="Fewest judgements in the dataset.")
    report_to: str = Field(
        "none", description="Trackers beside the run's row: tensorboard, mlflow, wandb."
    )
    reward: tuple[str, ...] = Field(
        (), description="What judges responses; see docs/policies.md. Empty: the live model."
    )
    gold: str | None = Field(
        None,
        description="A second reward model that training never sees; unset: one fitted on what "
        "was held out.",
    )
    evaluate_prompts: int = Field(
        64, ge=2, description="Held-out prompts that the policy is judged on, at most."
    )
    temperature: float = Field(1.0, gt=0, description="Of sampled responses.")


class OnlineParams(PolicyParams):
    """Parameters of recipes that learn from responses which the policy writes meanwhile."""

    steps: int = Field(
        0, ge=0, description="Batches of new responses; 0: as many as `epochs` over the prompts."
    )
    kl_budget: float | None = Field(
        None,
        gt=0,
        description="End once the policy is this far from its start, nats a response.",
    )
    recorded_prompts: int = Field(
        1000,
        ge=0,
        description="Prompts of the newest interactions that nobody judged, at most; beside those "
        "of judged responses.",
    )

    def batches(self, prompts: int, at_once: int) -> int:
        """Batches of new responses in the whole run, each to `at_once` of so many prompts."""
        return self.steps or math.ceil(self.epochs * prompts / at_once)
