"""The entry point, run as SageMaker runs a container: by environment, files and folders."""

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from services.trainer.launchers import sagemaker
from services.trainer.queries import unfinished_in
from shared.contracts.training import RunKind
from shared.db.tables import TrainingRun
from shared.jobs import claim, enqueue, mark_interrupted

PAIRS = [
    {
        "prompt": f"what is the {'sky' if at % 2 else 'sea'} {at}",
        "chosen": "kind" + " and" * (at % 3),
        "rejected": "rude" + " and" * (at % 3),
    }
    for at in range(60)
]


@pytest.fixture
def container(tmp_path: Path, as_settings, monkeypatch) -> Callable[..., Path]:
    """Lays /opt/ml out with these hyperparameters; the folder."""

    def lay_out(**hyperparameters: object) -> Path:
        place = tmp_path / "ml"
        for name in ("input/config", "input/data/training", "model"):
            (place / name).mkdir(parents=True)
        config = place / "input/config/hyperparameters.json"
        config.write_text(json.dumps({key: str(value) for key, value in hyperparameters.items()}))
        lines = "".join(json.dumps(pair) + "\n" for pair in PAIRS)
        (place / "input/data/training/preferences.jsonl").write_text(lines)
        for name, folder in {
            "SM_MODEL_DIR": "model",
            "SM_CHANNEL_TRAINING": "input/data/training",
            "SM_INPUT_CONFIG_DIR": "input/config",
            "SM_OUTPUT_DIR": "output",
        }.items():
            monkeypatch.setenv(name, str(place / folder))
        monkeypatch.setenv("TRAINING_JOB_NAME", "heed-42")
        return place

    return lay_out


@pytest.fixture
def shared_folder(tmp_path: Path, monkeypatch) -> Path:
    """Where the deployment of the database keeps its artifacts, mounted here too."""
    monkeypatch.setenv("HEED_ARTIFACT_DIR", str(tmp_path / "shared"))
    return tmp_path / "shared"


async def test_the_next_instance_goes_on_with_the_run_and_leaves_its_model_for_sagemaker(
    container, shared_folder, sessions
):
    given = {"kind": "reward_embedding", "min-rated": 20, "lexical": "false"}
    place = container(**given)
    job = sagemaker.SageMakerJob()
    async with sessions.begin() as session:  # an instance that was gone without a word
        params = job.request.model_dump(mode="json")
        run_id = await enqueue(
            session, TrainingRun, kind=job.request.kind, params=params, queue=job.queue
        )
        await claim(session, TrainingRun, queues=[job.queue], owner="gone")
    async with sessions.begin() as session:
        await mark_interrupted(session, TrainingRun, older_than_s=0)

    async with asyncio.timeout(300):
        command = (sys.executable, "-m", sagemaker.__name__)
        ending = await (await asyncio.create_subprocess_exec(*command)).wait()

    manifest = json.loads((place / "model/heed/reward_model.json").read_text())
    async with sessions() as session:
        run = (await session.scalars(select(TrainingRun))).one()
    assert (ending, run.id, run.attempt, run.status) == (0, run_id, 2, "succeeded")
    assert (run.params["recipe"], run.queue) == ({"min_rated": 20, "lexical": False}, job.queue)
    assert manifest["parameters"]["lexical"] is False
    assert not (place / "output/failure").exists()
    assert any((shared_folder / "1/models").iterdir())


@pytest.mark.parametrize(
    ("known", "is_gone_on_with"),
    [
        ({"status": "queued"}, True),
        ({"status": "running", "attempt": 1}, True),
        ({"status": "interrupted", "attempt": 1, "finished_at": datetime.now(UTC)}, True),
        ({"status": "interrupted", "attempt": 3, "finished_at": datetime.now(UTC)}, False),
        ({"status": "running", "attempt": 3}, False),  # the worker will only close it
        ({"status": "interrupted", "attempt": 1, "cancel_requested": True}, False),
        ({"status": "cancelled", "finished_at": datetime.now(UTC)}, False),
        ({"status": "failed", "attempt": 1, "finished_at": datetime.now(UTC)}, False),
        ({"status": "queued", "queue": "cpu"}, False),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else None,
)
async def test_a_run_is_gone_on_with_that_a_worker_would_take(sessions, known, is_gone_on_with):
    values = {"kind": "ppo", "params": {}, "queue": "own"} | known
    async with sessions.begin() as session:
        session.add(TrainingRun(**values))

    async with sessions() as session:
        found = await unfinished_in(session, "own")

    assert (found is not None) is is_gone_on_with


def test_a_job_that_cannot_be_done_says_why_where_sagemaker_shows_it(container):
    place = container(kind="magic")

    ending = sagemaker.main()

    assert ending == 1
    assert "`kind` is one of reward_embedding" in (place / "output/failure").read_text()


def test_several_gpus_train_what_can_be_spread_and_one_trains_the_rest(
    container, shared_folder, monkeypatch
):
    container(kind="reward_transformer")
    monkeypatch.setenv("SM_NUM_GPUS", "4")

    job = sagemaker.SageMakerJob()

    spread = {"HEED_LAUNCHER": "torchrun", "HEED_LAUNCH_PROCESSES": "4"}
    assert job.environment(RunKind.REWARD_TRANSFORMER) == spread
    assert job.environment(RunKind.REWARD_EMBEDDING) == {}
    assert job.queue == "sagemaker-heed-42"


def test_a_database_of_others_is_refused_without_a_place_that_they_see(container):
    place = container(kind="reward_embedding")

    ending = sagemaker.main()

    assert ending == 1
    assert "HEED_ARTIFACT_URL" in (place / "output/failure").read_text()


def test_a_database_of_its_own_needs_no_such_place(container, monkeypatch):
    container(kind="reward_embedding")
    monkeypatch.delenv("HEED_DATABASE_URL")

    assert sagemaker.SageMakerJob().environment(RunKind.REWARD_EMBEDDING) == {}
