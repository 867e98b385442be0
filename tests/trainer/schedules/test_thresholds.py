"""A training run whenever so many new samples have come, and only then."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from services.trainer.schedules.scheduler import Scheduler
from shared.contracts.schedules import Threshold
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import Consent, Feedback, Preference, Schedule, TrainingRun
from shared.ids import new_id
from shared.schedules.samples import Span, samples
from shared.schedules.stored import Owner, remove_schedule

RUN = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, recipe={"min_rated": 2})


class Retraining:
    """Schedules by a threshold alone, looked at every five seconds."""

    def __init__(self, clockwork: Any) -> None:
        self.clockwork = clockwork
        self.post, self.counted = clockwork.post, clockwork.counted
        self.runs, self.train = clockwork.runs, clockwork.train

    async def every(self, samples: int, name: str = "reward", **given: Any) -> None:
        await self.clockwork.set(name, threshold={"samples": samples, **given}, run=RUN)

    async def check(self) -> int:
        """Look once; how many schedules started a run or joined one."""
        return len(await self.clockwork.later(seconds=5))


@pytest.fixture
def retraining(clockwork):
    return Retraining(clockwork)


async def test_a_run_is_enqueued_at_exactly_so_many_samples(retraining):
    await retraining.every(5)
    await retraining.post(4)
    before = await retraining.check()
    await retraining.post()

    reached = await retraining.check()

    [run] = await retraining.runs()
    assert (before, reached) == (0, 1)
    assert (run.kind, run.status, run.schedule) == ("reward_embedding", "queued", "reward")
    assert TrainingRequest.model_validate(run.params) == RUN


async def test_the_next_run_needs_as_many_samples_again(retraining, sessions):
    await retraining.every(3)
    await retraining.post(3)
    reached = [await retraining.check()]
    async with sessions.begin() as session:
        await session.execute(text("UPDATE rlhf_reward_model_training SET status = 'failed'"))
    for _ in range(3):
        reached.append(await retraining.check())
        await retraining.post()

    reached.append(await retraining.check())

    assert reached == [1, 0, 0, 0, 1]
    assert len(await retraining.runs()) == 2


async def test_runs_of_a_threshold_that_still_wait_are_one(retraining):
    await retraining.every(2)
    for _ in range(3):
        await retraining.post(2)
        await retraining.check()

    assert len(await retraining.runs()) == 1


async def test_feedback_and_preferences_count_together(retraining):
    await retraining.every(3)
    await retraining.post(2)
    await retraining.post(1, Preference)

    assert await retraining.counted() == [3]
    assert await retraining.check() == 1


@pytest.mark.parametrize(
    "given",
    [
        {"consent_training": False},
        {"clinician_id": "r_withdrawn"},
        {"subjects": ["s_other", "s_withdrawn"]},
        {"project_id": 2},
    ],
)
async def test_a_row_that_may_not_be_trained_on_does_not_count(retraining, sessions, given):
    async with sessions.begin() as session:
        for kind, person in (("rater", "r_withdrawn"), ("subject", "s_withdrawn")):
            for granted in (True, False):
                session.add(Consent(kind=kind, person=person, purpose="training", granted=granted))
                await session.flush()
    await retraining.every(2)
    await retraining.post(1)
    await retraining.post(1, **given)

    assert await retraining.check() == 0
    assert await retraining.counted() == [1]


async def test_consent_withdrawn_after_counting_counts_no_more(retraining, sessions):
    await retraining.every(3)
    await retraining.post(2, clinician_id=None)
    await retraining.post(1, clinician_id="r_1", target="t")
    reached = []
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM rlhf_feedback WHERE clinician_id = 'r_1'"))
    reached.append(await retraining.check())
    await retraining.post(1, clinician_id="r_2")
    async with sessions.begin() as session:
        session.add(Consent(kind="rater", person="r_2", purpose="training", granted=False))
    reached.append(await retraining.check())
    await retraining.post(1)

    reached.append(await retraining.check())

    assert reached == [0, 0, 1]


async def test_consent_that_is_given_again_counts_again(retraining, sessions):
    retraining.clockwork.scheduler.tallies.recount_after = timedelta(0)
    await retraining.every(2)
    for granted in (True, False):
        async with sessions.begin() as session:
            session.add(Consent(kind="rater", person="r_1", purpose="training", granted=granted))
    await retraining.post(1)
    await retraining.post(1, clinician_id="r_1", target="t")
    before = await retraining.check()
    async with sessions.begin() as session:
        session.add(Consent(kind="rater", person="r_1", purpose="training", granted=True))

    assert (before, await retraining.check()) == (0, 1)


async def test_a_changed_row_is_not_counted_twice(retraining, sessions):
    await retraining.every(3)
    await retraining.post(2, rating=3)
    await retraining.check()
    flip = text("UPDATE rlhf_feedback SET rating = 5, xid = pg_current_xact_id()")
    async with sessions.begin() as session:
        await session.execute(flip)

    assert await retraining.check() == 0
    assert await retraining.counted() == [2]


async def test_a_task_has_its_own_count(retraining):
    await retraining.every(2, task_type="tracing")
    await retraining.post(5)
    await retraining.post(1, task_type="tracing")
    before = await retraining.check()
    await retraining.post(1, task_type="tracing")

    assert (before, await retraining.check()) == (0, 1)


async def test_one_task_that_has_enough_is_enough_for_any(retraining):
    await retraining.every(3, any_task=True)
    await retraining.post(2, task_type="tracing")
    await retraining.post(2, Preference, task_type="rag")
    await retraining.post(5)  # of no task
    before = await retraining.check()
    counted = await retraining.counted()
    await retraining.post(1, task_type="rag")

    assert (before, counted) == (0, [2])
    assert await retraining.check() == 1


async def test_after_any_task_had_enough_all_begin_anew(retraining):
    await retraining.every(2, any_task=True)
    await retraining.post(2, task_type="rag")
    await retraining.post(1, task_type="tracing")
    reached = [await retraining.check()]
    await retraining.post(1, task_type="tracing")

    reached.append(await retraining.check())

    assert reached == [1, 0]
    assert await retraining.counted() == [1]


async def test_a_threshold_that_cannot_be_looked_at_holds_up_no_other(retraining, sessions):
    async with sessions.begin() as session:
        session.add(Schedule(name="a-broken-one", threshold={"samples": 1}, run={}))
    await retraining.every(1)
    await retraining.post(1)

    assert await retraining.check() == 1


async def test_only_rows_after_the_last_training_count(retraining, sessions):
    await retraining.post(3)
    async with sessions.begin() as session:
        session.add(TrainingRun(kind=RUN.kind, params=RUN.model_dump(mode="json")))
    await retraining.train()
    await retraining.every(3)
    await retraining.post(2)
    before = await retraining.check()
    await retraining.post(1)

    assert (before, await retraining.check()) == (0, 1)


async def test_rows_of_open_transactions_are_counted_when_they_are_settled(retraining, sessions):
    await retraining.every(2)
    await retraining.check()
    async with sessions.begin() as older:
        older.add(_row())
        await older.flush()
        await retraining.post(1)
        before = await retraining.check()

    assert (before, await retraining.check()) == (0, 1)


async def test_several_processes_enqueue_one_run(retraining, sessions):
    await retraining.every(10)
    await retraining.post(10)
    several = [Scheduler(sessions) for _ in range(6)]

    reached = await asyncio.gather(*(one.tick(retraining.clockwork.now) for one in several))

    assert len([fired for found in reached for fired in found]) == 1
    assert len(await retraining.runs()) == 1


async def test_a_count_goes_on_after_a_restart(retraining, sessions):
    await retraining.every(3)
    await retraining.post(2)
    await retraining.check()
    retraining.clockwork.scheduler = Scheduler(sessions)
    await retraining.post(1)

    assert await retraining.check() == 1


async def test_setting_a_threshold_again_keeps_where_it_counts_from(retraining):
    await retraining.every(2)
    await retraining.post(2)
    await retraining.check()
    await retraining.every(3)
    await retraining.post(2)

    assert await retraining.check() == 0
    assert await retraining.counted() == [2]


async def test_a_threshold_that_was_taken_away_counts_no_more(retraining, sessions):
    await retraining.every(1)
    async with sessions.begin() as session:
        await remove_schedule(session, "reward", Owner(1, "tests"))
    await retraining.post(1)

    assert await retraining.check() == 0


async def test_the_count_reads_the_index_and_not_the_table(retraining, sessions):
    await retraining.every(1000)
    many = text(
        "INSERT INTO rlhf_feedback (id, feedback_id, target, consent_training) "
        "SELECT gen_random_uuid(), 'f' || n, 't' || n, false FROM generate_series(1, 3000) n"
    )
    async with sessions.begin() as session:
        await session.execute(many)
    await retraining.post(20)
    async with sessions.begin() as session:
        await session.execute(text("ANALYZE rlhf_feedback"))
        counting = samples(Feedback, 1, Threshold(samples=1000), Span(0, 10**9)).compile(
            dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}
        )
        connection = await session.connection()
        plan = (await connection.exec_driver_sql(f"EXPLAIN {counting}")).scalars()

        assert "ix_rlhf_feedback_samples" in "\n".join(plan)


def _row() -> Feedback:
    unique = new_id().hex
    return Feedback(target=unique, feedback_id=unique, clinician_id=unique, consent_training=True)
