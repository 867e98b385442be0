"""Gradient checkpointing: layers keep nothing, and are gone through again for their gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer.policies.conftest import opened_policy

from services.trainer.policies.data import PolicyData
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.rewards import Rewards
from services.trainer.recipes import dpo, grpo, kto, ppo, rloo, sft

ONLINE: dict[str, Any] = {"steps": 1, "max_response_tokens": 4, "batch_size": 2}
RECIPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "sft": (sft, sft.SftParams, {"batch_size": 24}),
    "dpo": (dpo, dpo.DpoParams, {"batch_size": 24}),
    "kto": (kto, kto.KtoParams, {"batch_size": 48}),
    "grpo": (grpo, grpo.GrpoParams, ONLINE | {"group_size": 2}),
    "rloo": (rloo, rloo.RlooParams, ONLINE | {"group_size": 2}),
    "ppo": (ppo, ppo.PpoParams, ONLINE | {"mini_batch_size": 2, "ppo_epochs": 1}),
}


def counted(model: Any) -> dict[str, int]:
    """How often with gradients a part within a layer is gone through, and one outside of it."""
    found = {"within": 0, "outside": 0}

    def count(name: str) -> Any:
        def hook(*_: Any) -> None:
            found[name] += torch.is_grad_enabled()

        return hook

    model.model.layers[0].mlp.register_forward_pre_hook(count("within"))
    model.model.norm.register_forward_pre_hook(count("outside"))
    return found


# TRL calls transformers' models by the names that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_..?.?able. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "asked", [*((name, 0) for name in RECIPES), ("sft", 2), ("ppo", 2)], ids=str
)
def test_layers_are_gone_through_twice(
    asked: tuple[str, int], speaker: Path, data: PolicyData, rewards: Rewards, tmp_path: Path
) -> None:
    recipe, kind, more = RECIPES[asked[0]]
    params = kind(base_model=str(speaker), gradient_checkpointing=True, lora_rank=asked[1], **more)
    opened = opened_policy(params, tmp_path / "tokenizer")
    seen = counted(opened.model)
    judged = {"rewards": rewards} if isinstance(params, OnlineParams) else {}

    recipe.train(opened, data, params, work=tmp_path / "work", progress=lambda *_: None, **judged)

    assert seen["within"] == 2 * seen["outside"] > 0
