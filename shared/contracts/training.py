"""What a training run is asked to do: the parameters of its row, whoever enqueues it."""

from enum import StrEnum
from typing import Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)


class RunKind(StrEnum):
    """Which recipe a run follows."""

    REWARD_EMBEDDING = "reward_embedding"
    REWARD_TRANSFORMER = "reward_transformer"
    REWARD_ADDED = "reward_added"
    SFT = "sft"
    DPO = "dpo"
    KTO = "kto"
    PPO = "ppo"
    GRPO = "grpo"
    RLOO = "rloo"

    @property
    def is_policy(self) -> bool:
        """Whether such a run makes a policy, and no reward model."""
        return not self.value.startswith("reward_")


class TrainingRequest(BaseModel):
    """Parameters of one training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: RunKind
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the recipe; its defaults otherwise."
    )
    dataset_file: str | None = Field(
        None, description="A preferences file to train from; empty: everything people posted."
    )
    test_after: AwareDatetime | None = Field(
        None, description="Hold out prompts first spoken of after this time, not a random share."
    )
    test_newest: float | None = Field(
        None, gt=0, lt=1, description="The same for about this share of the prompts."
    )
    allow_near_duplicates: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="Why a file's own split may put near-duplicates on both sides.",
    )
    model_name: str = Field(
        "",
        min_length=1,
        max_length=100,
        description="Name to register; unset: `reward`, or `policy` for a policy.",
    )
    command: str = Field("", description="How a person starts the same run again.")

    @model_validator(mode="before")
    @classmethod
    def _named_by_kind(cls, said: Any) -> Any:
        if not isinstance(said, dict) or "model_name" in said:
            return said
        is_reward = str(said.get("kind")).startswith("reward_")
        return {**said, "model_name": "reward" if is_reward else "policy"}
