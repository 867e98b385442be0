"""Two workers on two data folders and one bucket: what one began, the other ends as if alone."""

import asyncio
import signal
from pathlib import Path

import pytest
from sqlalchemy import func, update
from sqlmodel import col
from support.s3 import Place
from support.tiny_policy import save_tiny_policy

from services.trainer.execution import train_here
from services.trainer.workplace import run_log
from shared.artifacts import open_store
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import ModelVersion, TrainingRun
from shared.jobs import enqueue

pytest.importorskip("ray", reason="NO RAY: `make test-ray` runs the long tests of many machines")
pytestmark = pytest.mark.slow


@pytest.fixture
async def asked(insert, polite, tmp_path: Path) -> TrainingRequest:
    """A policy run of many steps, judged on the length of what it writes."""
    await insert(*polite())
    recipe = {
        "base_model": str(save_tiny_policy(tmp_path / "base")), "reward": ["length:2-4"],
        "steps": 200, "batch_size": 8, "mini_batch_size": 4, "max_response_tokens": 12,
        "save_steps": 2, "logging_steps": 2, "evaluate_prompts": 4, "learning_rate": 1e-3,
    }  # fmt: skip
    return TrainingRequest(kind=RunKind.PPO, recipe=recipe)


@pytest.fixture
def on_machine(settings, start_worker, s3: Place, tmp_path, monkeypatch):
    """Starts a worker on a data folder of its own; all share the database and the bucket."""

    async def start(name: str) -> asyncio.subprocess.Process:
        for variable, value in s3.environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("HEED_DATA_DIR", str(tmp_path / name))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        return await start_worker()

    return start


async def test_what_a_lost_machine_began_another_one_ends_with_the_same_weights(
    settings, sessions, asked, reached, on_machine, *, s3: Place, tmp_path: Path
):
    async with sessions.begin() as session:
        run = await enqueue(
            session, TrainingRun, kind=asked.kind, params=asked.model_dump(mode="json")
        )
    third = settings.model_copy(update=s3.settings | {"data_dir": tmp_path / "three"})
    store, second = open_store(third), third.model_copy(update={"data_dir": tmp_path / "two"})

    first = await on_machine("one")
    await reached(run, lambda row: str(run) in store.runs_with_checkpoints())
    first.send_signal(signal.SIGKILL)
    await first.wait()
    async with sessions.begin() as session:  # nobody waits here until the claim runs out
        await session.execute(
            update(TrainingRun).where(col(TrainingRun.id) == run).values(lease_until=func.now())
        )
    await on_machine("two")
    ended = await reached(run, lambda row: row.finished_at is not None)

    url = settings.database_url.get_secret_value()
    alone = await asyncio.to_thread(train_here, third, url, asked)
    async with sessions() as session:
        version = await session.get_one(ModelVersion, ended.model_version_id)
    assert (ended.status, ended.attempt, ended.error) == ("succeeded", 2, None)
    assert "goes on from a checkpoint" in run_log(second, run).read_text()
    weights = [
        (store.path(one.uri) / "model.safetensors").read_bytes() for one in (version, alone.version)
    ]
    assert weights[0] == weights[1]
