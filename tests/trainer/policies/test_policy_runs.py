"""Policy runs from their row to the registered version, on real Postgres."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.tiny_policy import save_tiny_policy
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.trainer.execution import export_folder, train_here
from services.trainer.policies.artifact import read_policy
from services.trainer.runs import Finished
from shared import registry
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import Lineage, ModelVersion, TrainingRun
from shared.errors import ArtifactError, ConfigError, InvalidInput, NotEnoughData, NotFound

SMALL = {
    "steps": 2, "batch_size": 4, "mini_batch_size": 4, "max_response_tokens": 8,
    "evaluate_prompts": 6,
}  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A policy that has learned nothing."""
    return str(save_tiny_policy(tmp_path / "base"))


@pytest.fixture
async def train(settings, insert, polite):
    """Trains in the foreground on what polite people said."""
    await insert(*polite())

    async def train(kind: RunKind, **recipe: Any) -> Finished:
        request = TrainingRequest(kind=kind, recipe=recipe, command="heed train")
        url = settings.database_url.get_secret_value()
        return await asyncio.to_thread(train_here, settings, url, request)

    return train


@pytest.fixture
async def live_reward(train, sessions) -> ModelVersion:
    """The reward model that is live."""
    trained = await train(RunKind.REWARD_EMBEDDING)
    async with sessions.begin() as session:
        return await registry.promote(session, trained.version.id, reason="for the test")


async def test_a_policy_run_leaves_a_signed_folder_that_any_engine_serves(
    train, live_reward, settings, base, tmp_path
):
    finished = await train(RunKind.PPO, base_model=base, **SMALL)

    version = finished.version
    assert (version.name, version.kind, version.version) == ("policy", "policy", 1)
    manifest = read_policy(finished.folder, secret=settings.secret_key.get_secret_value().encode())
    assert (manifest.method, manifest.rewards[0].name) == ("ppo", "reward@champion")
    model = AutoModelForCausalLM.from_pretrained(finished.folder)
    tokenizer = AutoTokenizer.from_pretrained(finished.folder)
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert (finished.folder / "policy_report.html").is_file()
    assert (finished.folder / "training_progress.png").is_file()
    assert version.metrics["steps"] == 2
    assert finished.gate["verdict"]
    export_folder(finished.folder, tmp_path / "copy")
    export_folder(finished.folder, tmp_path / "copy")  # in place of the earlier one


async def test_a_policy_comes_of_its_dataset_and_of_the_reward_it_learned_from(
    train, live_reward, sessions, base
):
    finished = await train(RunKind.RLOO, base_model=base, steps=1, batch_size=2,
                           group_size=2, max_response_tokens=6, evaluate_prompts=4)  # fmt: skip

    async with sessions() as session:
        edges = await session.scalars(
            select(Lineage.parent).where(Lineage.child == f"model:{finished.version.id}")
        )
        parents = set(edges)
    assert f"model:{live_reward.id}" in parents
    assert any(parent.startswith("dataset:") for parent in parents)


async def test_a_policy_may_start_from_an_earlier_one_and_needs_no_reward_to_imitate(train, base):
    first = await train(RunKind.SFT, base_model=base, evaluate_prompts=4)

    second = await train(RunKind.DPO, base_model="policy@1", evaluate_prompts=4)

    assert (first.version.version, second.version.version) == (1, 2)
    assert second.gate["promotes"] is False


async def test_without_a_live_reward_model_a_policy_has_nothing_to_learn_from(
    train, sessions, base
):
    with pytest.raises(ConfigError, match="heed train embedding"):
        await train(RunKind.PPO, base_model=base)

    async with sessions() as session:
        run = (await session.scalars(select(TrainingRun))).one()
    assert (run.status, run.kind) == ("failed", "ppo")
    assert "No reward model is live" in run.error


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        ({"base_model": "/nowhere/at/all"}, ConfigError, "no such folder"),
        ({"reward": ["reward@7"]}, NotFound, "no version"),
        ({"reward": ["/nowhere"]}, ConfigError, "no folder, no URL"),
        ({"reward": ["length:9-1"]}, InvalidInput, "length:20-120"),
        ({"steps": -1}, InvalidInput, "steps"),
        ({"stepz": 3}, InvalidInput, "stepz"),
        ({"min_rated": 10_000}, NotEnoughData, "10000"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(train, base, recipe, error, words):
    given = {"base_model": base, "reward": ["length:1-5"]} | recipe

    with pytest.raises(error) as told:
        await train(RunKind.PPO, **given)

    assert words in told.value.detail
    assert "\n" not in told.value.detail


async def test_a_changed_policy_is_refused_as_a_start(train, base):
    first = await train(RunKind.SFT, base_model=base, evaluate_prompts=4)
    (first.folder / "config.json").write_text("{}")

    with pytest.raises(ArtifactError, match="changed"):
        await train(RunKind.DPO, base_model="policy@1")
