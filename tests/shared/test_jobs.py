"""Work in a table: claimed once, fenced, renewed, retried."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlmodel import col

from shared import jobs
from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.tables import Job, TrainingRun
from shared.errors import Conflict, NotFound, RunInterrupted
from shared.ids import new_id


async def enqueue(sessions, **given):
    async with sessions.begin() as session:
        return await jobs.enqueue(session, Job, kind="report", params={}, **given)


async def claim(sessions, owner="worker", **given):
    async with sessions.begin() as session:
        return await jobs.claim(session, Job, queues=["cpu"], owner=owner, **given)


async def status_of(sessions, row_id, table=Job):
    async with sessions() as session:
        return (await session.get(table, row_id)).status


async def fall_silent(sessions, row_id, table=Job, seconds=61):
    """As if the process working on the row had died so long ago."""
    long_ago = func.now() - timedelta(seconds=seconds)
    async with sessions.begin() as session:
        await session.execute(
            update(table)
            .where(col(table.id) == row_id)
            .values(heartbeat_at=long_ago, lease_until=func.now() - timedelta(seconds=1))
        )


async def test_many_workers_never_claim_one_row_twice(sessions):
    wanted = {await enqueue(sessions) for _ in range(30)}

    async def work(owner: str) -> list:
        mine = []
        while (row := await claim(sessions, owner)) is not None:
            mine.append(row.id)
        return mine

    claimed = await asyncio.gather(*(work(f"worker {i}") for i in range(4)))

    assert Counter(row for mine in claimed for row in mine) == Counter(wanted)


async def test_urgent_and_older_work_comes_first_and_future_work_waits(sessions):
    later = func.now() + timedelta(hours=1)
    await enqueue(sessions, run_after=later, priority=9)
    older, newer = await enqueue(sessions), await enqueue(sessions)
    urgent = await enqueue(sessions, priority=5)

    order = [(await claim(sessions)).id for _ in range(3)]

    assert order == [urgent, older, newer]
    assert await claim(sessions) is None


async def test_work_of_another_queue_is_left_alone(sessions):
    await enqueue(sessions, queue="gpu")

    assert await claim(sessions) is None


async def test_the_same_waiting_work_is_enqueued_once(sessions):
    first = await enqueue(sessions, dedupe_key="nightly")
    second = await enqueue(sessions, dedupe_key="nightly", priority=7)
    row = await claim(sessions)
    third = await enqueue(sessions, dedupe_key="nightly")

    assert first == second
    assert row.priority == 7
    assert third != first


async def test_work_that_waits_for_a_further_attempt_stands_beside_a_new_wish(sessions):
    begun = await enqueue(sessions, dedupe_key="nightly")
    row = await claim(sessions)
    newer = await enqueue(sessions, dedupe_key="nightly")

    async with sessions.begin() as session:
        await jobs.retry(session, row, "killed by SIGKILL", wait_s=0)

    assert await enqueue(sessions, dedupe_key="nightly") == newer != begun
    assert {(await claim(sessions)).id for _ in range(2)} == {begun, newer}


def test_requests_of_the_same_training_share_a_key_whatever_the_command():
    first = TrainingRequest(kind="reward_embedding", recipe={"seed": 1}, command="heed train")
    again = TrainingRequest(kind="reward_embedding", recipe={"seed": 1}, command="heed retrain")
    other = TrainingRequest(kind="reward_embedding", recipe={"seed": 2})

    assert jobs.pending_key(first) == jobs.pending_key(again)
    assert jobs.pending_key(other) != jobs.pending_key(first) != jobs.pending_key(first, "gpu")


async def test_a_dead_workers_row_is_claimed_again_as_its_next_attempt(sessions):
    row_id = await enqueue(sessions)
    await claim(sessions, "dead")
    assert await claim(sessions, "other") is None

    await fall_silent(sessions, row_id)
    again = await claim(sessions, "other")

    assert (again.id, again.attempt, again.owner) == (row_id, 2, "other")


async def test_a_worker_that_was_believed_dead_can_write_nothing(sessions):
    row_id = await enqueue(sessions)
    first = await claim(sessions, "slow")
    await fall_silent(sessions, row_id)
    await claim(sessions, "quick")

    async with sessions.begin() as session:
        with pytest.raises(RunInterrupted):
            await jobs.renew(session, first, progress={"fraction": 0.9})
        with pytest.raises(RunInterrupted):
            await jobs.finish(session, first, RunStatus.SUCCEEDED)
        with pytest.raises(RunInterrupted):
            await jobs.retry(session, first, "late")

    async with sessions() as session:
        row = await session.get(Job, row_id)
    assert (row.status, row.owner, row.progress) == ("running", "quick", {})


async def test_a_renewed_row_is_not_taken_over(sessions):
    row_id = await enqueue(sessions)
    row = await claim(sessions)
    await fall_silent(sessions, row_id)
    async with sessions.begin() as session:
        await jobs.renew(session, row, progress={"fraction": 0.5})

    assert await claim(sessions, "other") is None
    async with sessions() as session:
        assert (await session.get(Job, row_id)).progress == {"fraction": 0.5}


async def test_a_crash_is_retried_later_until_the_attempts_are_used_up(sessions):
    row_id = await enqueue(sessions, max_attempts=2)
    outcomes = []
    for _ in range(2):
        row = await claim(sessions)
        async with sessions.begin() as session:
            outcomes.append(await jobs.retry(session, row, "killed by SIGKILL"))
        assert await claim(sessions) is None
        async with sessions.begin() as session:
            await session.execute(update(Job).values(run_after=func.now()))

    async with sessions() as session:
        row = await session.get(Job, row_id)
    assert outcomes == [RunStatus.QUEUED, RunStatus.FAILED]
    assert (row.status, row.error) == ("failed", "killed by SIGKILL")


async def test_a_row_whose_worker_died_in_the_last_attempt_fails(sessions):
    row_id = await enqueue(sessions, max_attempts=1)
    await claim(sessions)
    await fall_silent(sessions, row_id)

    assert await claim(sessions) is None
    assert await status_of(sessions, row_id) == "failed"


async def test_a_released_row_keeps_its_attempts_but_not_its_fence(sessions):
    row_id = await enqueue(sessions, max_attempts=1)
    first = await claim(sessions)
    async with sessions.begin() as session:
        await jobs.release(session, first)

    second = await claim(sessions)

    assert (second.id, second.attempt) == (row_id, 2)


async def test_cancelling_waiting_work_ends_it_and_running_work_is_asked(sessions):
    running = await enqueue(sessions)
    row = await claim(sessions)
    waiting = await enqueue(sessions)

    async with sessions.begin() as session:
        assert await jobs.cancel(session, Job, waiting) == RunStatus.CANCELLED
        assert await jobs.cancel(session, Job, running) == RunStatus.RUNNING
        assert (await jobs.renew(session, row)).cancel_requested

    async with sessions.begin() as session:
        with pytest.raises(Conflict, match="cancelled already"):
            await jobs.cancel(session, Job, waiting)
        with pytest.raises(NotFound):
            await jobs.cancel(session, Job, new_id())


@pytest.mark.parametrize(
    "give_back",
    [jobs.release, lambda session, row: jobs.retry(session, row, "killed by SIGKILL")],
    ids=["told to stop", "crashed"],
)
async def test_work_that_was_cancelled_as_its_worker_gave_it_up_ends(sessions, give_back):
    row_id = await enqueue(sessions)
    row = await claim(sessions)
    async with sessions.begin() as session:
        await jobs.cancel(session, Job, row_id)

    async with sessions.begin() as session:
        await give_back(session, row)

    async with sessions() as session:
        found = await session.get(Job, row_id)
    assert (found.status, found.owner, found.lease_until) == ("cancelled", None, None)
    assert found.finished_at is not None
    assert await claim(sessions) is None


async def ended(sessions, status, **given):
    """A run that a worker had, and how it ended."""
    async with sessions.begin() as session:
        run_id = await jobs.enqueue(
            session, TrainingRun, kind="reward_embedding", params={}, **given
        )
        run = await jobs.claim(session, TrainingRun, queues=["cpu"], owner="w")
        await jobs.finish(session, run, status, error="why", dataset_id=7)
    return run_id


async def resume(sessions, run_id, **given):
    async with sessions.begin() as session:
        return await jobs.resume(session, run_id, **given)


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.INTERRUPTED])
async def test_a_run_that_ended_without_success_waits_again_when_resumed(sessions, status):
    run_id = await ended(sessions, status, max_attempts=1)

    await resume(sessions, run_id)

    async with sessions.begin() as session:
        again = await jobs.claim(session, TrainingRun, queues=["cpu"], owner="new")
    assert (again.id, again.attempt, again.max_attempts) == (run_id, 2, 4)
    assert (again.dataset_id, again.error, again.cancel_requested) == (7, None, False)


async def test_what_has_succeeded_or_waits_or_is_of_another_project_is_not_resumed(sessions):
    done = await ended(sessions, RunStatus.SUCCEEDED)
    cancelled = await ended(sessions, RunStatus.CANCELLED)

    for run_id, error in ((done, Conflict), (new_id(), NotFound)):
        with pytest.raises(error):
            await resume(sessions, run_id)
    with pytest.raises(NotFound):
        await resume(sessions, cancelled, project_id=2)
    await resume(sessions, cancelled, project_id=1)
    with pytest.raises(Conflict, match="is queued"):
        await resume(sessions, cancelled)


async def test_a_wish_that_was_taken_back_is_not_resumed_beside_the_same_one(sessions):
    async def wish():
        async with sessions.begin() as session:
            return await jobs.enqueue(
                session, TrainingRun, kind="reward_embedding", params={}, dedupe_key="same"
            )

    first = await wish()
    async with sessions.begin() as session:
        await jobs.cancel(session, TrainingRun, first)
    await wish()

    with pytest.raises(Conflict, match="the same training waits"):
        await resume(sessions, first)


async def test_the_log_of_an_attempt_is_kept_until_a_later_one_begins(sessions):
    async with sessions.begin() as session:
        run_id = await jobs.enqueue(session, TrainingRun, kind="reward_embedding", params={})
        first = await jobs.claim(session, TrainingRun, queues=["cpu"], owner="slow")
        await jobs.retry(session, first, "killed", wait_s=0)
        await jobs.keep_log(session, first, "the first attempt")
    kept = await stored_run(sessions, run_id)
    async with sessions.begin() as session:
        await jobs.claim(session, TrainingRun, queues=["cpu"], owner="quick")
        await jobs.keep_log(session, first, "too late")

    assert kept.log_tail == "the first attempt"
    assert (await stored_run(sessions, run_id)).log_tail == "the first attempt"


async def stored_run(sessions, run_id):
    async with sessions() as session:
        return await session.get(TrainingRun, run_id)


async def start_foreground(sessions):
    async with sessions.begin() as session:
        return await jobs.start_foreground(
            session, TrainingRun, kind="reward_embedding", params={}, owner="me:1", created_by="me"
        )


async def test_a_silent_foreground_run_is_marked_interrupted_and_never_claimed(sessions):
    alive, silent = await start_foreground(sessions), await start_foreground(sessions)
    await fall_silent(sessions, silent.id, TrainingRun)

    async with sessions.begin() as session:
        found = await jobs.mark_interrupted(session, TrainingRun)
        await jobs.requeue_interrupted(session, TrainingRun, ["cpu"])
        assert await jobs.claim(session, TrainingRun, queues=["cpu"], owner="w") is None

    assert [row.id for row in found] == [silent.id]
    assert await status_of(sessions, silent.id, TrainingRun) == "interrupted"
    assert await status_of(sessions, alive.id, TrainingRun) == "running"


async def test_a_silent_run_lasted_until_it_was_last_heard_of(sessions):
    run = await start_foreground(sessions)
    async with sessions.begin() as session:
        await session.execute(
            update(TrainingRun).values(
                started_at=func.now() - timedelta(hours=9),
                heartbeat_at=func.now() - timedelta(hours=8),
            )
        )

    async with sessions.begin() as session:
        await jobs.mark_interrupted(session, TrainingRun)

    async with sessions() as session:
        assert (await session.get(TrainingRun, run.id)).duration_s == 3600


async def test_an_interrupted_run_of_a_worker_goes_on_when_a_worker_comes(sessions):
    async with sessions.begin() as session:
        run_id = await jobs.enqueue(session, TrainingRun, kind="reward_embedding", params={})
        await jobs.claim(session, TrainingRun, queues=["cpu"], owner="dead")
    await fall_silent(sessions, run_id, TrainingRun)

    async with sessions.begin() as session:
        await jobs.mark_interrupted(session, TrainingRun)
    async with sessions.begin() as session:
        await jobs.requeue_interrupted(session, TrainingRun, ["cpu"])
        again = await jobs.claim(session, TrainingRun, queues=["cpu"], owner="new")

    assert (again.id, again.attempt) == (run_id, 2)


async def test_an_interrupted_run_that_would_go_on_by_itself_can_be_cancelled(sessions):
    async with sessions.begin() as session:
        run_id = await jobs.enqueue(session, TrainingRun, kind="reward_embedding", params={})
        await jobs.claim(session, TrainingRun, queues=["cpu"], owner="dead")
    await fall_silent(sessions, run_id, TrainingRun)

    async with sessions.begin() as session:
        await jobs.mark_interrupted(session, TrainingRun)
        assert await jobs.cancel(session, TrainingRun, run_id) == RunStatus.CANCELLED
        await jobs.requeue_interrupted(session, TrainingRun, ["cpu"])
        assert await jobs.claim(session, TrainingRun, queues=["cpu"], owner="new") is None
