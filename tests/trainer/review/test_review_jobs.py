"""The review queue as a job of the worker."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import col

from services.trainer.child_jobs import QUEUES_IN_CHILD, do_claimed
from services.trainer.execution import EXIT_LOST
from services.trainer.review.jobs import MAKING_QUEUES
from services.trainer.small_jobs import work_off_one
from services.trainer.workplace import Workplace, run_log
from shared.artifacts import FolderStore
from shared.config import Settings
from shared.contracts.review import KIND, MadeQueue, QueueRequest
from shared.db.tables import InteractionRecord, Job
from shared.jobs import claim, enqueue
from shared.privacy.fields import open_cipher

SECRET = b"a secret for the tests, long enough."


def recorded(at: int, **given: object) -> InteractionRecord:
    values = {
        "interaction_id": f"int_{at}",
        "user_prompt": f"What of {at}?",
        "ai_response": f"This of {at}.",
        "agent_name": "triage",
        "consent_training": True,
    }
    return InteractionRecord(**values | given)  # type: ignore[arg-type]


@pytest.fixture
def workplace(settings, sessions, tmp_path) -> Workplace:
    cipher = open_cipher(Settings(), sessions)
    return Workplace(settings, sessions, FolderStore(tmp_path / "store"), SECRET, cipher)


@pytest.fixture
def ask(sessions):
    async def enqueue_job(project_id: int = 1, **wanted: object) -> None:
        async with sessions.begin() as session:
            params = QueueRequest.model_validate(wanted).model_dump()
            await enqueue(session, Job, kind=KIND, params=params, project_id=project_id, queue=KIND)

    return enqueue_job


@pytest.fixture
def jobs(sessions):
    async def stored() -> list[Job]:
        async with sessions() as session:
            return list(await session.scalars(select(Job).order_by(col(Job.created_at))))

    return stored


async def test_the_queue_is_left_in_the_job_without_a_text(workplace, insert, ask, jobs):
    await insert(*(recorded(at, context={"who": "Ann Miller"}) for at in range(6)))
    await ask(count=4, audit_share=0.5, by="who")

    assert await work_off_one(workplace, MAKING_QUEUES)

    [job] = await jobs()
    made = MadeQueue.model_validate(job.progress)
    assert job.status == "succeeded"
    assert [one.reason for one in made.questions] == ["audit"] * 2 + ["coverage"] * 2
    assert (made.recorded, made.unjudged, made.model) == (6, 6, None)
    assert "Miller" not in str(job.progress)
    assert "What of" not in str(job.progress)


async def test_a_newer_queue_takes_the_place_of_the_earlier_ones_of_its_project(
    workplace, insert, ask, jobs
):
    await insert(recorded(1), recorded(2, project_id=2))
    for project_id in (2, 1, 1):
        await ask(project_id)
        await work_off_one(workplace, MAKING_QUEUES)

    assert sorted(job.project_id for job in await jobs()) == [1, 2]


async def test_a_queue_of_nothing_fails_at_once_and_says_why(workplace, ask, jobs):
    await ask()

    assert await work_off_one(workplace, MAKING_QUEUES)

    [job] = await jobs()
    assert (job.status, job.attempt) == ("failed", 1)
    assert "No recorded interaction is left" in job.error


async def test_a_worker_makes_the_queue_beside_its_runs(insert, ask, jobs, start_worker):
    await insert(recorded(1))
    await ask()
    worker = await start_worker()

    async with asyncio.timeout(60):
        while [job.status for job in await jobs()] != ["succeeded"]:  # noqa: ASYNC110 - in a table
            await asyncio.sleep(0.1)
    maps = await asyncio.to_thread(Path(f"/proc/{worker.pid}/maps").read_text)
    assert "libtorch" not in maps


async def test_a_child_makes_the_queue_and_leaves_no_log(workplace, insert, ask, jobs, as_settings):
    await insert(recorded(1))
    await ask()

    assert await work_off_one(workplace, QUEUES_IN_CHILD)

    [job] = await jobs()
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert not run_log(workplace.settings, job.id).exists()


async def test_a_child_that_dies_lets_the_job_wait_and_says_how_it_ended(
    workplace, sessions, jobs, as_settings
):
    async with sessions.begin() as session:
        await enqueue(session, Job, kind=KIND, params={"count": "many"}, queue=KIND)

    assert await work_off_one(workplace, QUEUES_IN_CHILD)

    [job] = await jobs()
    assert (job.status, job.attempt) == ("queued", 1)
    assert "ended with status 1" in job.error


async def test_a_claim_that_somebody_else_has_by_now_is_left_alone(
    workplace, ask, jobs, settings, sessions
):
    await ask()
    async with sessions.begin() as session:
        job = await claim(session, Job, queues=[KIND], owner="somebody")

    ended = await do_claimed(
        settings, settings.database_url.get_secret_value(), job.id, job.attempt + 1
    )

    assert ended == EXIT_LOST
    assert [one.status for one in await jobs()] == ["running"]
