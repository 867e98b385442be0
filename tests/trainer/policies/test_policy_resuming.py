"""A policy run that is killed, or asked to stop, goes on to the very same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer.policies.conftest import opened_policy
from trainer.policies.test_policy_recipes import weights

from services.trainer.policies.data import PolicyData
from services.trainer.policies.rewards import Rewards
from services.trainer.progress import Reporter
from services.trainer.recipes import grpo, ppo, rloo, sft
from shared.errors import RunInterrupted

SHORT: dict[str, Any] = {
    "learning_rate": 1e-3, "max_response_tokens": 8, "batch_size": 2, "logging_steps": 1,
    "save_steps": 2,
}  # fmt: skip
PASSES: dict[str, Any] = SHORT | {"epochs": 3}
RECIPES: dict[str, tuple[Any, Any]] = {
    "ppo": (ppo, ppo.PpoParams(**SHORT, steps=5)),
    "grpo": (grpo, grpo.GrpoParams(**SHORT, steps=5, group_size=2)),
    "sft": (sft, sft.SftParams(**SHORT | {"batch_size": 8})),
}
IN_PASSES: dict[str, tuple[Any, Any]] = {
    "grpo in passes": (grpo, grpo.GrpoParams(**PASSES | {"batch_size": 5}, group_size=2)),
}
NEARBY: dict[str, tuple[Any, Any]] = {
    "rloo nearby": (rloo, rloo.RlooParams(**PASSES, group_size=2, kl_budget=1e-6)),
    "ppo nearby": (ppo, ppo.PpoParams(**PASSES, kl_budget=1e-6)),
}


class Killed(Exception):
    """Stands for a kill: nothing is saved after it."""


def killing_at(step: int) -> Any:
    def progress(_: float, __: str, numbers: dict[str, float]) -> None:
        if numbers.get("step", 0) >= step:
            raise Killed

    return progress


Run = Callable[..., Any]


@pytest.fixture
def run(speaker: Path, data: PolicyData, rewards: Rewards, tmp_path: Path) -> Run:
    """One attempt of a run, in the folder where its earlier attempts left their checkpoints."""

    def run(name: str, folder: str, progress: Any = lambda *_: None) -> Any:
        recipe, params = (RECIPES | IN_PASSES | NEARBY)[name]
        work = tmp_path / folder
        work.mkdir(exist_ok=True)
        opened = opened_policy(
            params.model_copy(update={"base_model": str(speaker)}),
            work / f"tokenizer{len(list(work.iterdir()))}",
        )
        more = {} if recipe is sft else {"rewards": rewards}
        return recipe.train(opened, data, params, work=work, progress=progress, **more)

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(name: str, run: Run) -> None:
    whole = run(name, "whole")
    with pytest.raises(Killed):
        run(name, "killed", killing_at(3))

    resumed = run(name, "killed")

    assert torch.equal(weights(whole.model), weights(resumed.model))
    steps = [row["step"] for row in resumed.history if "step" in row]
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", IN_PASSES)
def test_a_run_that_is_killed_in_each_pass_ends_with_the_weights_of_an_undisturbed_one(
    name: str, run: Run
) -> None:
    whole = run(name, "whole")
    for step in (3, 5, 7):
        with pytest.raises(Killed):
            run(name, "killed", killing_at(step))

    resumed = run(name, "killed")

    assert torch.equal(weights(whole.model), weights(resumed.model))
    assert whole.history[-1]["step"] == resumed.history[-1]["step"] >= 8


@pytest.mark.parametrize("name", NEARBY)
def test_a_run_that_is_killed_while_its_policy_is_judged_stays_within_its_budget(
    name: str, run: Run
) -> None:
    ended = run(name, "killed")

    again = run(name, "killed")

    assert 1 < ended.metrics["steps"] == again.metrics["steps"] < 8
    assert torch.equal(weights(ended.model), weights(again.model))


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_is_asked_to_stop_saves_within_a_step_and_goes_on_from_there(
    name: str, run: Run, tmp_path: Path
) -> None:
    whole = run(name, "whole")
    seen: list[float] = []

    def show(_: float, __: str) -> None:
        if seen.append(1.0) or len(seen) == 4:
            reporter.ask_to_stop("cancelled")

    reporter = Reporter(show)
    with pytest.raises(RunInterrupted):
        run(name, "stopped", reporter)
    kept = {path.name for path in (tmp_path / "stopped").glob("checkpoint-*")}

    resumed = run(name, "stopped")

    assert kept
    assert torch.equal(weights(whole.model), weights(resumed.model))
