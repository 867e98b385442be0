"""Two processes tune one policy, stop together and go on; `make test-ray` runs what takes long."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_policy import save_tiny_policy

from services.trainer.execution import EXIT_STOPPED
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import ModelVersion, TrainingRun

pytest.importorskip("ray", reason="NO RAY: `make test-ray` runs the long tests of many processes")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
async def posts(insert, polite, feedback) -> None:
    """What people said: comparisons, and thumbs."""
    await insert(*polite(), *(feedback(thumbs=("up", "down")[at % 2]) for at in range(60)))


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., TrainingRequest]:
    """A policy run of a few seconds, judged on the length of what it writes."""
    small = {
        "base_model": str(save_tiny_policy(tmp_path / "base")), "reward": ["length:2-4"],
        "batch_size": 4, "max_response_tokens": 8, "evaluate_prompts": 6, "save_steps": 2,
    }  # fmt: skip

    def make(kind: RunKind, **recipe: Any) -> TrainingRequest:
        return TrainingRequest(kind=kind, recipe=small | recipe, model_name="policy")

    return make


def children_of(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for one in threads for child in (one / "children").read_text().split()]


def are_gone(pids: list[int]) -> bool:
    """Whether processes end within twenty seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize(
    "asked",
    [
        (RunKind.SFT, {}),
        (RunKind.DPO, {}),
        (RunKind.KTO, {}),
        (RunKind.PPO, {"steps": 4, "mini_batch_size": 2}),
        (RunKind.GRPO, {"steps": 2, "group_size": 4}),
        (RunKind.RLOO, {"steps": 2, "group_size": 4}),
    ],
    ids=lambda asked: asked[0].value,
)
async def test_two_processes_leave_one_policy(asked, sessions, request_of, claimed, start):
    run = await claimed(request_of(asked[0], **asked[1]))

    async with asyncio.timeout(300):
        ending = await (await start(run)).wait()

    async with sessions() as session:
        found = await session.get_one(TrainingRun, run.id)
        version = await session.get(ModelVersion, found.model_version_id)
    assert (ending, found.status, found.error) == (0, "succeeded", None)
    assert version.kind == "policy"


async def test_two_processes_go_on_from_the_step_to_which_trl_has_come(
    sessions, request_of, claimed, start, capfd
):
    run = await claimed(request_of(RunKind.SFT, epochs=20, logging_steps=1))
    process = await start(run)
    async with asyncio.timeout(300):
        while True:
            async with sessions() as session:
                at = (await session.get_one(TrainingRun, run.id)).progress.get("step", 0)
            if at >= 3:
                break
            await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        stopped = await process.wait()
        capfd.readouterr()
        ended = await (await start(run)).wait()

    told = [line for line in capfd.readouterr().err.splitlines() if "from a checkpoint" in line]
    assert (stopped, ended) == (EXIT_STOPPED, 0)
    assert len(told) == 2  # each of them says so
    assert all(json.loads(line)["step"] >= at for line in told)


async def test_both_processes_save_one_checkpoint_and_go_on_from_it(
    sessions, request_of, claimed, start
):
    run = await claimed(request_of(RunKind.PPO, steps=200, mini_batch_size=2, logging_steps=1))
    process = await start(run)
    async with asyncio.timeout(300):
        while True:
            async with sessions() as session:
                at = (await session.get_one(TrainingRun, run.id)).progress.get("step", 0)
            if at >= 3:
                break
            await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        stopped = await process.wait()
        ended = await (await start(run)).wait()

    async with sessions() as session:
        found = await session.get_one(TrainingRun, run.id)
    assert (stopped, at < 200) == (EXIT_STOPPED, True)
    assert (ended, found.status) == (0, "succeeded")


async def test_a_killed_launcher_takes_all_its_processes_along(
    sessions, request_of, claimed, start
):
    run = await claimed(request_of(RunKind.PPO, steps=2000, mini_batch_size=2, logging_steps=1))
    process = await start(run)
    async with asyncio.timeout(300):
        while True:
            async with sessions() as session:
                if (await session.get_one(TrainingRun, run.id)).progress.get("step", 0):
                    break
            await asyncio.sleep(0.1)
    ranks = children_of(process.pid)

    process.kill()
    await process.wait()

    assert len(ranks) == 2
    assert await asyncio.to_thread(are_gone, ranks)
