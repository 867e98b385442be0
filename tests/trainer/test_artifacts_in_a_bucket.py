"""What the trainer leaves in a bucket, and takes out of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.trainer.config import TrainerSettings
from services.trainer.erasure_jobs import work_off_one
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.workplace import Workplace, open_workplace, tidy
from shared.contracts.values import PersonKind, RunStatus
from shared.db.tables import Dataset, TrainingRun
from tests.support.s3 import Place


@pytest.fixture
def settings(settings: TrainerSettings, s3: Place) -> TrainerSettings:
    """The settings of a machine that keeps artifacts in a bucket."""
    return settings.model_copy(update=s3.settings)


@pytest.fixture
async def workplace(settings: TrainerSettings) -> AsyncIterator[Workplace]:
    async with open_workplace(settings, settings.database_url.get_secret_value()) as opened:
        yield opened


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_text("canary")
    return folder


def a_run(status: RunStatus) -> TrainingRun:
    return TrainingRun(kind="reward_embedding", params={}, status=status)


async def everything_in(s3: Place) -> dict[str, bytes]:
    """Every object of the bucket."""
    bucket = s3.bucket(url=f"s3://{s3.address.bucket}")
    keys = await asyncio.to_thread(bucket.sizes, "some")
    return {key: await asyncio.to_thread(bucket.read, f"some/{key}") or b"" for key in keys}


async def test_erased_rows_leave_the_bucket_and_the_copies(
    workplace: Workplace, s3: Place, feedback, checkpoint: Path
):
    async with workplace.sessions.begin() as session:
        session.add(feedback(clinician_id="r_a", rating=5, agent_response="canary"))
        session.add_all(feedback(rating=n % 5 + 1, agent_response=f"{n}") for n in range(5))
    async with workplace.sessions.begin() as session:
        dataset = await freeze_feedback(session, workplace.freezing("me"))
        run = a_run(RunStatus.INTERRUPTED)
        run.dataset_id = dataset.id
        session.add(run)
    await asyncio.to_thread(workplace.store.keep_checkpoint, run.id, 1, checkpoint)
    before = await everything_in(s3)

    async with workplace.sessions.begin() as session:
        policy = ErasurePolicy(retrains=False, days=30)
        await erase_person(session, Person(1, PersonKind.RATER, "r_a"), actor="me", policy=policy)
    assert await work_off_one(workplace)

    async with workplace.sessions() as session:
        new = await session.get_one(Dataset, dataset.id)
    assert sum(b"canary" in content for content in before.values()) == 2
    assert [key for key, text in (await everything_in(s3)).items() if b"canary" in text] == []
    copies = [path for path in workplace.store.root.rglob("*") if path.is_file()]
    assert [path for path in copies if "canary" in path.read_text()] == []
    assert {one.response for one in load_dataset(new, workplace.store).rated} == set("01234")


async def test_checkpoints_of_runs_that_are_over_go_and_others_stay(
    workplace, sessions, checkpoint
):
    over, waiting = a_run(RunStatus.SUCCEEDED), a_run(RunStatus.QUEUED)
    async with sessions.begin() as session:
        session.add_all([over, waiting])
    for run in (over, waiting):
        await asyncio.to_thread(workplace.store.keep_checkpoint, run.id, 1, checkpoint)

    await tidy(workplace)

    left = await asyncio.to_thread(workplace.store.runs_with_checkpoints)
    assert left == [str(waiting.id)]


async def test_tidying_goes_on_while_the_bucket_is_away(settings, database_url):
    away = settings.model_copy(update={"artifact_endpoint": "http://127.0.0.1:9"})

    async with open_workplace(away, database_url) as workplace:
        assert await tidy(workplace) == []
        assert not workplace.store.is_tidying_due()
