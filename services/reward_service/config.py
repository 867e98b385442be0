"""Settings of the reward service."""

import os
from typing import Literal

from pydantic import Field

from shared.config import Settings
from shared.contracts.scoring import EngineChoice


def _cores() -> int:
    return min(8, len(os.sched_getaffinity(0)))


class RewardSettings(Settings):
    """What the reward service adds to the settings every process shares."""

    reward_host: str = Field("127.0.0.1", description="Address the reward service listens on.")
    reward_port: int = Field(8001, ge=0, le=65535, description="Port of the reward service.")
    reward_model: str = Field(
        "reward",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Name of the model that scores when a request names none.",
    )
    reward_workers: int = Field(
        default_factory=_cores,
        ge=1,
        le=256,
        description="Scoring threads over one copy of the weights; default: the cores of this "
        "process, at most 8.",
    )
    reward_batch_tokens: int = Field(
        1024, ge=64, description="Tokens one worker scores at once, about; more leaves the caches."
    )
    reward_queue_tokens: int = Field(
        32_768,
        ge=1024,
        description="Tokens that may wait for a worker; beyond, or beyond three seconds of work, "
        "requests get 503 with Retry-After.",
    )
    reward_timeout_s: float = Field(
        30, gt=0, description="Longest a request waits for its scores; X-Deadline-Ms shortens it."
    )
    reward_poll_s: float = Field(
        2, gt=0, description="How often the registry is read in case a notification was lost."
    )
    reward_loaded_models: int = Field(
        4,
        ge=1,
        description="Model versions kept in memory at once; the least recently used goes first.",
    )
    reward_memory_bytes: int = Field(
        0,
        ge=0,
        description="Most bytes that the weights of all models in memory may take; the least "
        "recently used goes first, the live one never. 0: no limit.",
    )
    reward_cache_bytes: int = Field(
        67_108_864,
        ge=0,
        description="Memory for the vectors of texts that were encoded before, so that a prompt "
        "that comes again is not encoded again; 0 keeps none.",
    )
    reward_engine: EngineChoice = Field(
        "auto",
        description="Arithmetic that rewards are computed in: `fp32`, `bf16`, `int8` (only models "
        "that were trained on it), `fitted` (what the model was trained on), or `auto`: bf16 where "
        "the hardware multiplies it and the model allows, else `fitted`.",
    )
    reward_max_texts: int = Field(
        1000, ge=1, description="Inputs or documents that one request may hold."
    )
    reward_max_text_chars: int = Field(
        100_000, ge=1, description="Characters that one prompt, response or document may have."
    )
    reward_max_body_bytes: int = Field(
        1_048_576, ge=1024, description="Largest body of a request to the reward service, bytes."
    )
    reward_foreign_models: list[str] = Field(
        ["*/*", "rerank-*", "jina-*"],
        description="Names that clients of other servers send in `model` and that mean the live "
        "model here, as a JSON list of patterns; any other name is one of ours.",
    )
    reward_v1_rerank: Literal["jina", "sglang"] = Field(
        "jina",
        description="Whose reply `/v1/rerank` gives where the request does not tell: an object as "
        "Jina, Cohere and vLLM, or the bare list of SGLang.",
    )
    reward_patience_s: float = Field(
        150,
        gt=0,
        description="Longest that `/get_reward` waits for a place in the queue and for its "
        "rewards; OpenRLHF gives up after 180 s and five tries.",
    )
