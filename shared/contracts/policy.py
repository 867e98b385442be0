"""What `policy.json` says: which policy this is, what it learned from, and what judged it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class RewardUse(BaseModel):
    """A reward that a policy learned from, or was judged by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="As asked for: a model version, a folder, a URL or a demand.")
    weight: float = Field(1.0, description="In the sum of all rewards.")
    sha256: str | None = Field(None, description="Of the model's artifact; empty for others.")


class PolicyManifest(BaseModel):
    """One trained policy; signed over all fields but `signature`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    kind: Literal["policy"] = "policy"
    method: str = Field(description="The recipe: sft, dpo, kto, ppo, grpo or rloo.")
    base_model: str = Field(description="What training started from.")
    base_revision: str | None = Field(None, description="Commit of a hub id.")
    base_sha256: str = Field(description="Over names and contents of its weights and tokenizer.")
    rewards: tuple[RewardUse, ...] = ()
    metrics: dict[str, Any] = Field(description="What the recipe measured.")
    parameters: dict[str, Any]
    dataset_snapshot: str
    code_version: str
    created_at: datetime
    files: dict[str, str] = Field(description="sha256 of every other file, by relative path.")
    signature: str = Field("", description="HMAC-SHA256, hex, with the deployment's secret.")
