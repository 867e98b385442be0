"""A queue beside the runs goes on, whatever one of its jobs meets."""

import asyncio

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from services.trainer.small_jobs import Trade, keep_working, work_off_one
from services.trainer.workplace import Workplace, open_workplace
from shared.contracts.values import RunStatus
from shared.db.engine import create_engine
from shared.db.tables import Job
from shared.errors import HeedError
from shared.jobs import enqueue, finish

QUEUE = "odd"


@pytest.fixture
async def workplace(settings, database_url):
    async with open_workplace(settings, database_url) as workplace:
        yield workplace


@pytest.fixture
def ask(sessions):
    async def enqueue_job(**params: object) -> None:
        async with sessions.begin() as session:
            await enqueue(session, Job, kind=QUEUE, params=params, queue=QUEUE)

    return enqueue_job


@pytest.fixture
def jobs(sessions):
    async def stored() -> list[Job]:
        async with sessions() as session:
            return list(await session.scalars(select(Job).order_by(col(Job.id))))

    return stored


async def test_a_job_that_fails_after_its_claim_was_lost_is_left_alone(workplace, ask, jobs):
    async def carry_out(place: Workplace, _: Job) -> None:
        async with place.sessions.begin() as session:
            await session.execute(update(Job).values(attempt=2, owner="somebody"))
        raise ValueError

    await ask()

    assert await work_off_one(workplace, Trade(QUEUE, carry_out))

    [job] = await jobs()
    assert (job.status, job.attempt, job.owner) == ("running", 2, "somebody")


async def test_a_job_whose_end_cannot_be_written_holds_up_no_other(workplace, ask, jobs):
    done = asyncio.Event()

    async def carry_out(place: Workplace, job: Job) -> None:
        if job.params["is_bad"]:
            raise HeedError("Postgres has no place for \0.")
        async with place.sessions.begin() as session:
            await finish(session, job, RunStatus.SUCCEEDED)
        done.set()

    for is_bad in (True, False):
        await ask(is_bad=is_bad)
    working = asyncio.create_task(keep_working(workplace, Trade(QUEUE, carry_out), asyncio.Event()))
    async with asyncio.timeout(60):
        await done.wait()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)

    assert [job.status for job in await jobs()] == ["running", "succeeded"]


async def test_a_queue_ends_when_it_is_told_to_though_the_database_is_away(workplace, ask):
    begun = asyncio.Event()

    async def carry_out(place: Workplace, _: Job) -> None:
        place.sessions.configure(bind=create_engine("postgresql://nobody@127.0.0.1:1/none"))
        begun.set()
        await asyncio.sleep(3600)

    await ask()
    working = asyncio.create_task(keep_working(workplace, Trade(QUEUE, carry_out), asyncio.Event()))
    async with asyncio.timeout(60):
        await begun.wait()
        working.cancel()
        await asyncio.wait({working})

    assert working.cancelled()
