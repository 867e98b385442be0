"""What monitoring finds, warns of, and tells others."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from services.trainer.config import TrainerSettings
from services.trainer.execution import train_here
from services.trainer.queries import trainable_feedback, trainable_preferences
from services.trainer.schedules.monitoring import MONITORING
from services.trainer.schedules.watching import watch
from services.trainer.small_jobs import work_off_one
from services.trainer.workplace import open_workplace
from shared.contracts.monitoring import MonitoringReport, MonitoringRequest, Warned
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.tables import Feedback, Job, Outbox
from shared.jobs import enqueue
from shared.schedules.reports import newest_report

NOW = datetime.now(UTC)
REWARD = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, command="heed train")


@pytest.fixture
async def workplace(settings: TrainerSettings):
    async with open_workplace(settings, settings.database_url.get_secret_value()) as made:
        yield made


@pytest.fixture
def look(workplace):
    async def report(**asked) -> MonitoringReport:
        soon = NOW + timedelta(minutes=30)  # rows are stored after this file was read
        return await watch(workplace, MonitoringRequest(**asked), 1, soon)

    return report


async def test_averages_are_those_of_each_task_and_agent(look, insert, feedback):
    await insert(
        *(feedback(task_type="tracing", human_rating=rating) for rating in (0.2, 0.4)),
        feedback(agent_name="helper", rating=5),
        feedback(agent_name="helper", thumbs="down"),
        feedback(agent_name="helper", comments="nothing rated"),
        feedback(agent_name="helper", rating=1, timestamp=NOW - timedelta(days=40)),
    )

    found = {(one.kind, one.name): one for one in (await look()).averages}

    assert found["task", "tracing"].average == pytest.approx(0.3)
    assert (found["agent", "helper"].rated, found["agent", "helper"].average) == (2, 0.5)
    assert (found["all", "all"].rated, found["all", "all"].average) == (4, pytest.approx(0.4))


@pytest.mark.parametrize(
    "case", [(51, 0.59, True), (50, 0.1, False), (60, 0.6, False)], ids=["low", "few", "fair"]
)
async def test_a_low_average_of_more_than_fifty_ratings_is_warned_of(look, insert, feedback, case):
    count, rating, warns = case
    await insert(*(feedback(task_type="rag", human_rating=rating) for _ in range(count)))

    found = [one for one in (await look()).warnings if one.about == "task:rag"]

    assert [(one.kind, one.counted) for one in found] == [("low_average", count)] * warns


async def test_a_quiet_day_after_busy_ones_is_warned_of(look, insert, feedback, preference):
    days = [NOW - timedelta(days=number, hours=1) for number in range(1, 11)]
    await insert(*(feedback(timestamp=day, rating=5) for day in days for _ in range(15)))
    await insert(*(preference(timestamp=day) for day in days for _ in range(5)))
    await insert(*(feedback(rating=5) for _ in range(4)))

    report = await look(days=10)

    assert (report.volume.last_day, report.volume.usual_day) == (4, 20.0)
    assert report.warnings == [Warned(kind="quiet", about="posts", value=0.2, counted=4)]


async def test_without_a_live_model_the_report_says_so(look, insert, preference):
    await insert(*(preference() for _ in range(30)))

    report = await look()

    assert report.newest == []
    assert "live" in report.unknown


@pytest.fixture
async def live(insert, polite, settings) -> None:
    """A model that prefers what is polite."""
    await insert(*polite())
    await asyncio.to_thread(train_here, settings, settings.database_url.get_secret_value(), REWARD)


@pytest.mark.usefixtures("live")
async def test_the_live_model_is_compared_with_what_people_say_since(
    look, insert, feedback, preference
):
    fresh = {"response_a": "Gladly: here is what I know.", "response_b": "Nobody cares, go away."}
    await insert(*(preference(prompt=f"A new one, {at}?", **fresh) for at in range(40)))
    agreed = await look(newest=40)
    await insert(
        *(preference(prompt=f"Another, {at}?", outcome="b", **fresh) for at in range(40)),
        *(
            feedback(user_query=f"Rated, {at}?", agent_response="Nobody cares, go away.", rating=1)
            for at in range(30)
        ),
    )

    turned = await look(newest=40)

    [before] = agreed.newest
    assert (before.model, before.of, before.counted) == ("reward@1", "comparisons", 40)
    assert before.agreement == 1.0
    assert 0.5 < before.promised_low < before.high
    assert agreed.warnings == []
    compared, rated = turned.newest
    assert compared.agreement < 0.1
    assert (rated.of, rated.counted, rated.promised_low) == ("ratings", 30, None)
    assert [one.about for one in turned.warnings if one.kind == "disagrees"] == [
        "reward@1:comparisons"
    ]


async def test_the_newest_are_the_last_that_were_stored(workplace, insert, feedback, preference):
    await insert(*(feedback(rating=1 + number % 5) for number in range(5)))
    await insert(*(preference() for _ in range(5)))
    async with workplace.sessions() as session:
        rated = await trainable_feedback(session, 1, workplace.cipher)
        compared = await trainable_preferences(session, 1, workplace.cipher)

        assert await trainable_feedback(session, 1, workplace.cipher, newest=2) == rated[-2:]
        assert await trainable_preferences(session, 1, workplace.cipher, newest=3) == compared[-3:]


async def test_a_warning_is_told_once_for_as_long_as_it_holds(
    workplace, insert, feedback, sessions
):
    await insert(*(feedback(task_type="rag", human_rating=0.1) for _ in range(60)))
    for hour in range(3):
        async with sessions.begin() as session:
            if hour == 2:
                await session.execute(Feedback.__table__.update().values(human_rating=0.9))
            await enqueue(
                session, Job, kind="monitoring", params={"kind": "monitoring"}, queue="monitoring",
                schedule="watch", due_at=NOW + timedelta(hours=hour),
            )  # fmt: skip
        await work_off_one(workplace, MONITORING)

    async with sessions() as session:
        events = list(await session.scalars(select(Outbox)))
        report = await newest_report(session, "watch", 1)
        jobs = list(await session.scalars(select(Job.status)))
    assert jobs == ["succeeded"] * 3
    assert [one.event for one in events] == ["monitoring.warned"]
    assert [one["kind"] for one in events[0].payload["warnings"]] == ["low_average"] * 2
    assert report.warnings == []
