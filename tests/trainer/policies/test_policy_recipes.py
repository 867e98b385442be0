"""Every recipe moves a policy the way it says, on held-out prompts, and the same way every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer.policies.conftest import Train, held_rewards, opened_policy

from services.trainer.policies.data import PolicyData
from services.trainer.policies.rewards import Rewards
from services.trainer.recipes import dpo, grpo, kto, ppo, rloo, sft

KL_BUDGET = 60.0
ONLINE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "ppo": (ppo, ppo.PpoParams, {"batch_size": 24, "mini_batch_size": 8, "steps": 16}),
    "grpo": (grpo, grpo.GrpoParams, {"batch_size": 4, "steps": 16, "beta": 0.02}),
    "rloo": (rloo, rloo.RlooParams, {"batch_size": 4, "steps": 16, "beta": 0.02}),
}


def weights(model: Any) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in model.parameters()])


def test_imitation_lowers_the_loss_on_held_out_responses(blank: Path, train: Train) -> None:
    params = sft.SftParams(base_model=str(blank), epochs=4, learning_rate=3e-3)

    _, tuned = train(sft, params)

    assert tuned.metrics["held_loss_after"] < 0.7 * tuned.metrics["held_loss_before"]


def test_comparisons_raise_the_implied_margin(speaker: Path, train: Train) -> None:
    params = dpo.DpoParams(base_model=str(speaker), epochs=4, learning_rate=1e-3)

    _, tuned = train(dpo, params)

    assert tuned.metrics["held_margin"] > 0.2
    assert tuned.metrics["held_accuracy"] > 0.9
    assert tuned.metrics["few_pairs"] == 1


def test_thumbs_raise_the_implied_margin(speaker: Path, train: Train) -> None:
    params = kto.KtoParams(base_model=str(speaker), epochs=4, learning_rate=1e-3)

    _, tuned = train(kto, params)

    assert tuned.metrics["held_margin"] > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ONLINE)
def test_what_a_policy_writes_is_rewarded_more_within_its_kl_budget(
    name: str, speaker: Path, train: Train, data: PolicyData, rewards: Rewards
) -> None:
    recipe, kind, more = ONLINE[name]
    params = kind(
        base_model=str(speaker), learning_rate=1e-3, max_response_tokens=24,
        kl_budget=KL_BUDGET, logging_steps=1, **more,
    )  # fmt: skip

    opened, tuned = train(recipe, params, rewards=rewards)

    start = opened_policy(params, Path(opened.folder).with_name("again"))
    before = held_rewards(start.model, start, data, rewards)
    after = held_rewards(tuned.model, opened, data, rewards)
    error = np.hypot(*(found.std() / found.size**0.5 for found in (before, after)))
    assert after.mean() - before.mean() > 3 * error
    assert not torch.equal(weights(start.model), weights(tuned.model))
    assert max(row.get("kl", 0.0) for row in tuned.history) < KL_BUDGET


@pytest.mark.parametrize("name", ONLINE)
def test_equal_seeds_give_equal_weights(
    name: str, speaker: Path, train: Train, rewards: Rewards
) -> None:
    recipe, kind, _ = ONLINE[name]
    params = kind(
        base_model=str(speaker), learning_rate=1e-3, max_response_tokens=8, batch_size=2, steps=2
    )

    found = [weights(train(recipe, params, one, rewards=rewards)[1].model) for one in "ab"]
    other = train(recipe, params.model_copy(update={"seed": 7}), "c", rewards=rewards)[1]

    assert torch.equal(*found)
    assert not torch.equal(found[0], weights(other.model))


@pytest.mark.parametrize(
    "more", [{"batch_size": 16}, {"batch_size": 4, "gradient_accumulation": 3}]
)
def test_one_pass_over_few_prompts_is_a_step_that_moves_the_policy(
    more: dict[str, int], speaker: Path, train: Train, data: PolicyData, rewards: Rewards
) -> None:
    params = rloo.RlooParams(
        base_model=str(speaker), learning_rate=1e-3, max_response_tokens=8, group_size=2, **more
    )

    opened, tuned = train(rloo, params, rewards=rewards)

    start = opened_policy(params, Path(opened.folder).with_name("again"))
    assert len(data.train.prompts) == 12
    assert tuned.metrics["steps"] == 1
    assert not torch.equal(weights(start.model), weights(tuned.model))


@pytest.mark.parametrize("name", ONLINE)
def test_adapters_move_the_policy_too(
    name: str, speaker: Path, train: Train, rewards: Rewards
) -> None:
    recipe, kind, _ = ONLINE[name]
    params = kind(
        base_model=str(speaker), learning_rate=1e-2, max_response_tokens=8, batch_size=2, steps=2,
        lora_rank=2,
    )  # fmt: skip

    opened, tuned = train(recipe, params, rewards=rewards)

    start = opened_policy(params, Path(opened.folder).with_name("again"))
    names = [name for name, _ in tuned.model.named_parameters()]
    assert names == [name for name, _ in start.model.named_parameters()]
    assert not torch.equal(weights(start.model), weights(tuned.model))
