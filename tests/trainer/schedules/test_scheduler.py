"""What is due is enqueued once; what is missed, edited or switched off behaves as people expect."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from services.trainer.schedules.keeping import tick_now
from services.trainer.schedules.scheduler import Scheduler
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.tables import AuditEntry, Job, Schedule, TrainingRun
from shared.errors import InvalidInput, NotFound
from shared.schedules.stored import Owner, remove_schedule

NIGHTLY = {"cron": "0 2 * * *"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def due_times(clockwork) -> list[str]:
    return [f"{run.due_at.astimezone(UTC):%m-%d %H:%M}" for run in await clockwork.runs()]


async def test_a_due_run_is_enqueued_as_it_was_asked_for(clockwork):
    run = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, recipe={"seed": 7}, model_name="tone")
    await clockwork.set(**NIGHTLY, run=run, queue="gpu", priority=5)
    before = await clockwork.tick("2026-03-01T01:59")

    [fired] = await clockwork.tick("2026-03-01T02:00")

    [queued] = await clockwork.runs()
    assert before == []
    assert (fired.outcome, fired.id, fired.due_at) == ("started", queued.id, at("2026-03-01 02:00"))
    assert TrainingRequest.model_validate(queued.params) == run
    assert (queued.queue, queued.priority, queued.status) == ("gpu", 5, RunStatus.QUEUED)
    assert (queued.schedule, queued.due_at) == ("nightly", fired.due_at)
    assert queued.created_by == "schedule:nightly"


async def test_it_is_due_again_the_next_day_and_not_before(clockwork):
    await clockwork.set(**NIGHTLY)
    for moment in ("01T02:00", "01T02:05", "01T23:00", "02T01:59", "02T02:01"):
        await clockwork.tick(f"2026-03-{moment}")
        await clockwork.train()

    assert await due_times(clockwork) == ["03-01 02:00", "03-02 02:00"]


async def test_times_that_were_missed_are_made_up_for_once(clockwork):
    await clockwork.set(**NIGHTLY)
    await clockwork.tick("2026-03-01T02:00")
    await clockwork.train()
    await clockwork.tick("2026-03-06T13:00")  # nothing ran for five days
    await clockwork.train()
    await clockwork.tick("2026-03-06T13:01")
    await clockwork.tick("2026-03-07T02:00")

    assert await due_times(clockwork) == ["03-01 02:00", "03-02 02:00", "03-07 02:00"]


@pytest.mark.parametrize(
    ("eve", "expected"),
    [
        ("2026-03-28T00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),  # 02:30 is skipped
        ("2026-10-24T00:00", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),  # and shown twice
    ],
)
async def test_the_night_on_which_clocks_are_changed_has_one_run(clockwork, eve, expected):
    clockwork.now = at(eve)
    await clockwork.set(cron="30 2 * * *", time_zone="Europe/Berlin")
    for _ in range(2 * 52):
        await clockwork.later(minutes=30)
        await clockwork.train()

    assert await due_times(clockwork) == expected


async def test_six_schedulers_start_a_due_run_once(clockwork, sessions):
    for number in range(5):
        await clockwork.set(f"model-{number}", **NIGHTLY, run={**_run(f"m{number}")})
    six = [Scheduler(sessions) for _ in range(6)]

    fired = await asyncio.gather(*(one.tick(at("2026-03-01 02:00")) for one in six))

    started = sorted(one.name for found in fired for one in found)
    assert started == [f"model-{number}" for number in range(5)]
    assert len(await clockwork.runs()) == 5


async def test_the_same_training_that_waits_already_is_not_enqueued_twice(clockwork):
    await clockwork.set("nightly", **NIGHTLY)
    await clockwork.set("hourly", cron="0 * * * *")
    fired = await clockwork.tick("2026-03-01T02:00")

    [run] = await clockwork.runs()
    assert sorted(one.outcome for one in fired) == ["collapsed", "started"]
    assert {one.id for one in fired} == {run.id}


async def test_a_run_that_has_begun_does_not_stand_for_the_next_one(clockwork, sessions):
    await clockwork.set(**NIGHTLY)
    await clockwork.tick("2026-03-01T02:00")
    async with sessions.begin() as session:
        await session.execute(update(TrainingRun).values(attempt=1))  # it waits for a further one

    [fired] = await clockwork.tick("2026-03-02T02:00")

    assert fired.outcome == "started"
    assert len(await clockwork.runs()) == 2


async def test_a_clock_that_was_put_back_starts_nothing_twice(clockwork, sessions):
    await clockwork.set(**NIGHTLY)
    await clockwork.tick("2026-03-01T02:00")
    await clockwork.train()
    async with sessions.begin() as session:
        await session.execute(update(Schedule).values(next_at=at("2026-03-01 02:00")))

    [fired] = await clockwork.tick("2026-03-01T02:00")

    assert fired.outcome == "collapsed"
    assert len(await clockwork.runs()) == 1
    assert (await clockwork.stored()).next_at == at("2026-03-02 02:00")


async def test_another_hour_counts_from_when_it_was_set(clockwork):
    await clockwork.set(**NIGHTLY)
    await clockwork.tick("2026-03-01T01:00")
    await clockwork.set(cron="30 0 * * *", time_zone="Europe/Berlin")  # passed for today

    assert (await clockwork.stored()).next_at == at("2026-03-01 23:30")
    assert await clockwork.tick("2026-03-01T02:00") == []


async def test_another_recipe_leaves_the_due_time_alone(clockwork):
    await clockwork.set(**NIGHTLY)
    clockwork.now = at("2026-03-01 03:00")  # nobody has looked since it was due
    await clockwork.set(**NIGHTLY, run=_run("other"))

    [fired] = await clockwork.tick()

    assert fired.due_at == at("2026-03-01 02:00")
    assert (await clockwork.runs())[0].params["model_name"] == "other"


async def test_what_is_switched_off_starts_nothing_and_makes_up_for_nothing(clockwork):
    await clockwork.set(**NIGHTLY)
    await clockwork.set(**NIGHTLY, enabled=False)
    off = await clockwork.tick("2026-03-05T02:00")
    await clockwork.set(**NIGHTLY)
    on = await clockwork.tick("2026-03-05T03:00")

    assert off == on == []
    assert [one.due_at for one in await clockwork.tick("2026-03-06T02:00")] == [
        at("2026-03-06 02:00")
    ]


async def test_what_was_taken_away_starts_nothing(clockwork, sessions):
    await clockwork.set(**NIGHTLY)
    async with sessions.begin() as session:
        await remove_schedule(session, "nightly", Owner(1, "tests"))

    assert await clockwork.tick("2026-03-05T02:00") == []


async def test_taking_away_what_is_not_there_says_so(sessions):
    with pytest.raises(NotFound, match="heed schedules list"):
        async with sessions.begin() as session:
            await remove_schedule(session, "nothing", Owner(1, "tests"))


async def test_a_cron_with_a_threshold_waits_for_enough(clockwork):
    await clockwork.set(**NIGHTLY, threshold={"samples": 3})
    await clockwork.post(2)
    [first] = await clockwork.tick("2026-03-01T02:00")
    await clockwork.post(1)
    meanwhile = await clockwork.tick("2026-03-01T09:00")

    [second] = await clockwork.tick("2026-03-02T02:00")

    assert (first.outcome, meanwhile, second.outcome) == ("too_few", [], "started")
    assert await due_times(clockwork) == ["03-02 02:00"]


async def test_a_threshold_in_total_asks_for_one_new_sample(clockwork):
    await clockwork.set(cron="0 */6 * * *", threshold={"samples": 3, "in_total": True})
    outcomes = []
    for hour, posts in ((0, 2), (6, 1), (12, 0), (18, 1)):
        await clockwork.post(posts)
        outcomes += [one.outcome for one in await clockwork.tick(f"2026-03-02T{hour:02}:00")]
        await clockwork.train()

    assert outcomes == ["too_few", "started", "too_few", "started"]
    assert await clockwork.counted() == [4]


async def test_a_training_that_somebody_started_moves_the_watermark(clockwork, sessions):
    await clockwork.set(threshold={"samples": 3})
    await clockwork.post(2)
    async with sessions.begin() as session:
        session.add(TrainingRun(kind="reward_embedding", params=_run("reward")))
    await clockwork.train()
    await clockwork.post(2)

    assert await clockwork.counted() == [2]
    assert await clockwork.tick() == []


async def test_monitoring_is_a_job_and_not_a_run(clockwork):
    await clockwork.set("watch", cron="0 * * * *", monitoring={"days": 7})
    await clockwork.tick("2026-03-01T01:00")

    [job] = await clockwork.runs(Job)
    assert (job.kind, job.queue, job.params["days"]) == ("monitoring", "monitoring", 7)
    assert await clockwork.runs() == []


async def test_a_schedule_without_its_next_time_gets_one(clockwork, sessions):
    async with sessions.begin() as session:
        session.add(Schedule(name="written-by-hand", cron="0 2 * * *", run=_run("reward")))

    assert await clockwork.tick("2026-03-01T01:00") == []
    assert len(await clockwork.tick("2026-03-01T02:00")) == 1


async def test_by_hand_it_is_the_clock_of_the_database(clockwork):
    await clockwork.set(cron="* * * * *")  # set at a time long ago

    [fired] = await tick_now(clockwork.scheduler)

    assert fired.outcome == "started"
    assert (await clockwork.stored()).next_at > datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cron": "0 25 * * *"}, "is no cron"),
        ({"cron": "0 2 * * *", "time_zone": "Europe/Nowhere"}, "no time zone"),
    ],
)
async def test_what_can_never_be_due_is_not_stored(clockwork, given, said):
    with pytest.raises(InvalidInput, match=said):
        await clockwork.set(**given)

    assert await clockwork.counted() == []


async def test_who_set_and_removed_what_is_in_the_audit_log(clockwork, sessions):
    await clockwork.set(**NIGHTLY)
    async with sessions.begin() as session:
        await remove_schedule(session, "nightly", Owner(1, "tests"))

    entries = await clockwork.runs(AuditEntry)
    assert [(one.action, one.actor, one.target) for one in entries] == [
        ("schedule.set", "tests", "schedule:nightly"),
        ("schedule.remove", "tests", "schedule:nightly"),
    ]


def _run(model: str) -> dict[str, str]:
    return TrainingRequest(kind=RunKind.REWARD_EMBEDDING, model_name=model).model_dump(mode="json")
