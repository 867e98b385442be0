"""A policy that learns from a reward which people would laugh at, from its run to the refusal."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.tiny_policy import save_tiny_policy

from services.trainer.execution import train_here
from services.trainer.runs import Finished
from shared import registry
from shared.contracts.policy_report import POLICY_REPORT_FILE, PolicyReport
from shared.contracts.training import RunKind, TrainingRequest
from shared.errors import InvalidInput

SAID = ("Gladly: here is tea.", "Gladly: here is rain.", "Nobody cares, go away.", "And so on.",
        "What about tea, case 3?")  # fmt: skip
HURRIED = {
    "steps": 12, "learning_rate": 3e-3, "max_response_tokens": 6, "kl_coefficient": 0.0,
    "kl_wanted": None, "missing_end": 0.0, "logging_steps": 1,
}  # fmt: skip


@pytest.fixture
def train(settings):
    """Trains in the foreground."""

    async def train(kind: RunKind, **recipe: Any) -> Finished:
        request = TrainingRequest(kind=kind, recipe=recipe, command="heed train")
        url = settings.database_url.get_secret_value()
        return await asyncio.to_thread(train_here, settings, url, request)

    return train


async def test_a_policy_that_learned_a_rude_word_is_not_promoted_without_a_reason(
    train, insert, polite, sessions, tmp_path: Path
):
    """The weak reward counts a rude word; people, and so the second reward model, dislike it."""
    await insert(*polite())
    await train(RunKind.REWARD_EMBEDDING)
    base = save_tiny_policy(tmp_path / "base", SAID)

    hacked = await train(
        RunKind.PPO, base_model=str(base), reward=["require:away"], gold="reward@1", **HURRIED
    )

    report = PolicyReport.model_validate_json((hacked.folder / POLICY_REPORT_FILE).read_bytes())
    assert report.changes["reward"].low > 0
    assert [one.severity for one in report.alarms if one.code == "gold_gap"] == ["blocks"]
    assert (hacked.gate["verdict"], hacked.gate["passed"]) == ("better", False)
    assert not hacked.is_live
    with pytest.raises(InvalidInput, match="needs a reason"):
        async with sessions.begin() as session:
            await registry.promote(session, hacked.version.id)
    async with sessions.begin() as session:
        await registry.promote(session, hacked.version.id, reason="to see what it says")
