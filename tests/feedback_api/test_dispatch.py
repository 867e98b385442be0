"""Events become deliveries exactly once, whoever hands them out and whoever dies of it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col
from support.receivers import receiving

from services.feedback_api.dispatch import Dispatcher, dispatch, ids_and_counts
from services.feedback_api.upkeep import EXPIRE_JOBS, expire
from services.feedback_api.webhooks.addresses import Allowed
from services.feedback_api.webhooks.courier import Courier
from services.feedback_api.webhooks.deliveries import GATHER_S, MAX_IDS, WAITS_S, queue_of
from services.feedback_api.webhooks.sending import Sender
from services.feedback_api.webhooks.subscriptions import Keeper
from services.feedback_api.writer import create_pool
from shared.contracts.values import Event
from shared.db.events import announce
from shared.db.tables import Job, Outbox, Webhook
from shared.ids import new_id

SECRET = b"a secret for the tests, long enough."
LOCAL = Allowed.of(["127.0.0.1"])
DELIVER = f"""
import asyncio, sys
from prometheus_client import CollectorRegistry
from services.feedback_api.webhooks.addresses import Allowed, SystemResolver
from services.feedback_api.webhooks.courier import Courier
from services.feedback_api.webhooks.sending import Sender
from shared.db.engine import create_engine, create_sessions
sessions = create_sessions(create_engine(sys.argv[1]))
sender = Sender(Allowed.of(["127.0.0.1"]), SystemResolver())
courier = Courier(sessions, sender, {SECRET!r}, owner="child", registry=CollectorRegistry())
asyncio.run(courier.work())
"""


@dataclass
class Post:
    """A deployment's outbox: events come in, deliveries come out."""

    sessions: async_sessionmaker[AsyncSession]

    async def add(self, url: str = "http://127.0.0.1:1/", *events: str) -> UUID:
        """A new webhook."""
        async with self.sessions.begin() as session:
            webhook, _ = await Keeper(session, SECRET, LOCAL, "tests").add(url, events)
            return webhook.id

    async def event(self, *counts: int) -> list[str]:
        """Commit events of so many posts each, as the writer does; the ids of all."""
        ids = [[str(new_id()) for _ in range(count)] for count in counts]
        for listed in ids:
            async with self.sessions.begin() as session:
                announce(session, Event.FEEDBACK_CREATED, {"ids": listed})
        return [row_id for listed in ids for row_id in listed]

    async def drain(self) -> int:
        """Hand out what is there; how many events that was."""
        return await Dispatcher(self.sessions, CollectorRegistry()).drain()

    async def jobs(self) -> list[Job]:
        """The deliveries, oldest first."""
        async with self.sessions() as session:
            return list(await session.scalars(select(Job).order_by(col(Job.due_at))))

    async def change(self, statement: Any) -> None:
        """Execute and commit."""
        async with self.sessions.begin() as session:
            await session.execute(statement)

    async def is_waiting(self) -> bool:
        """Whether an event is not handed out yet."""
        waiting = select(func.count()).where(col(Outbox.dispatched_at).is_(None))
        async with self.sessions() as session:
            return bool(await session.scalar(waiting))


@pytest.fixture
def post(sessions):
    return Post(sessions)


def courier_of(sessions, sender: Sender | None = None) -> Courier:
    sender = sender or Sender(LOCAL, _same)
    return Courier(sessions, sender, SECRET, owner="tests", registry=CollectorRegistry())


async def _same(host: str, port: int) -> list[str]:
    return [host]


async def work_until(courier: Courier, holds: Callable[[], Awaitable[bool]], eventually) -> None:
    task = asyncio.create_task(courier.work())
    try:
        assert await eventually(holds)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_of_one_moment_are_one_delivery(post):
    await post.add()
    ids = await post.event(3, 1, 2)

    handed_out = await post.drain()

    [job] = await post.jobs()
    assert handed_out == 3
    assert job.params["data"] == {"count": 6, "ids": ids, "truncated": False}


async def test_a_delivery_lists_only_so_many_ids_and_counts_all(post):
    await post.add()
    ids = await post.event(400, 400)

    await post.drain()

    [job] = await post.jobs()
    assert job.params["data"] == {"count": 800, "ids": ids[:MAX_IDS], "truncated": True}


async def test_what_waits_untried_takes_in_what_comes_later(post):
    await post.add()
    first = await post.event(1)
    await post.drain()
    second = await post.event(2)
    await post.drain()

    [job] = await post.jobs()

    assert job.params["data"] == {"count": 3, "ids": first + second, "truncated": False}


async def test_while_a_receiver_fails_new_events_gather(post, sessions):
    await post.add()
    await post.event(1)
    await post.drain()
    in_3_h = func.now() + timedelta(hours=3)
    await post.change(update(Job).values(attempt=1, run_after=in_3_h))

    for _ in range(3):
        await post.event(1)
        await post.drain()

    _, gathering = await post.jobs()
    wait = gathering.run_after - gathering.created_at
    assert gathering.params["data"]["count"] == 3
    assert wait == timedelta(seconds=GATHER_S)


async def test_every_webhook_of_the_project_that_listens_gets_a_delivery(post, sessions):
    all_events = await post.add()
    one_event = await post.add("https://x.test", "feedback.created")
    other = await post.add("https://y.test", "preference.created")
    off = await post.add()
    async with sessions.begin() as session:
        await session.execute(update(Webhook).where(col(Webhook.id) == off).values(enabled=False))
        session.add(Outbox(project_id=2, event="feedback.created", payload={"ids": ["x"]}))
    await post.event(1)

    await post.drain()

    queues = {job.queue for job in await post.jobs()}
    assert queues == {queue_of(all_events), queue_of(one_event)}
    assert queue_of(other) not in queues


async def test_an_event_nobody_knows_yet_is_passed_through(post, sessions):
    await post.add()
    async with sessions.begin() as session:
        session.add(Outbox(event="model.promoted", payload={"version": 3, "name": "reward"}))

    await post.drain()

    [job] = await post.jobs()
    assert (job.params["type"], job.params["data"]) == (
        "model.promoted",
        {"version": 3, "name": "reward"},
    )


def test_texts_in_a_payload_never_leave():
    payload = {
        "id": "sub_1",
        "note": "Patient reports chest pain",
        "rows": [1, "fb:2", "said hello to me", {"text": "two words"}, "ann@example.org"],
        "ok": True,
        "none": None,
    }

    kept = ids_and_counts(payload)

    assert kept == {"id": "sub_1", "rows": [1, "fb:2", {}], "ok": True}


async def test_events_of_an_open_transaction_wait_and_are_not_lost(post, sessions):
    await post.add()
    async with sessions.begin() as older:
        announce(older, Event.FEEDBACK_CREATED, {"ids": ["a"]})
        await older.flush()
        await post.event(1)
        before = await post.drain()

    after = await post.drain()

    [job] = await post.jobs()
    assert (before, after) == (0, 2)
    assert job.params["data"]["count"] == 2


async def test_dispatchers_at_once_hand_out_every_event_once(post, sessions):
    await post.add()
    ids = await post.event(*[1] * 450)

    async def hand_out() -> int:
        total = 0
        while await post.is_waiting():
            total += await post.drain()
        return total

    handed_out = await asyncio.gather(*(hand_out() for _ in range(4)))

    told = [row_id for job in await post.jobs() for row_id in job.params["data"]["ids"]]
    assert sum(handed_out) == 450
    assert sorted(told) == sorted(ids)


async def test_a_dispatch_that_dies_before_its_commit_leaves_everything_to_the_next(post, sessions):
    await post.add()
    await post.event(1, 1)
    async with sessions() as session:
        assert len(await dispatch(session)) == 2  # and nothing is committed

    handed_out = await post.drain()

    assert handed_out == 2
    assert [job.params["data"]["count"] for job in await post.jobs()] == [2]


async def test_a_delivery_whose_process_was_killed_is_made_by_another(
    post, sessions, database_url, eventually
):
    async with receiving() as receiver:
        receiver.delay_s = 60
        await post.add(receiver.url)
        await post.event(1)
        await post.drain()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", DELIVER, database_url)

        async def is_under_way() -> bool:
            return bool(receiver.got)

        assert await eventually(is_under_way)
        child.kill()
        await child.wait()
        receiver.delay_s = 0
        await post.change(update(Job).values(lease_until=func.now()))

        async def is_done() -> bool:
            return [job.status for job in await post.jobs()] == ["succeeded"]

        await work_until(courier_of(sessions), is_done, eventually)

        first, second = receiver.got
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body


async def test_a_slow_receiver_delays_no_other(post, sessions, eventually):
    async with receiving() as slow, receiving() as quick:
        slow.delay_s = 60
        slow_id, quick_id = await post.add(slow.url), await post.add(quick.url)
        async with sessions.begin() as session:
            keeper = Keeper(session, SECRET, LOCAL, "tests")
            for webhook in 20 * (slow_id, quick_id):
                await keeper.test(webhook, datetime.now(UTC))

        async def is_done() -> bool:
            return len(quick.got) == 20

        await work_until(courier_of(sessions), is_done, eventually)

        assert len(slow.got) == 2  # as many as one webhook may have under way


async def test_waits_grow_to_about_a_day():
    assert list(WAITS_S) == sorted(WAITS_S)
    assert 23 * 3600 < sum(WAITS_S) < 26 * 3600


async def test_the_backlog_is_measured(post, sessions):
    registry = CollectorRegistry()
    dispatcher = Dispatcher(sessions, registry)
    await post.event(1, 1)
    await post.change(update(Outbox).values(created_at=func.now() - timedelta(seconds=90)))

    await dispatcher.measure()

    assert registry.get_sample_value("heed_outbox_waiting") == 2
    assert 90 <= registry.get_sample_value("heed_outbox_oldest_seconds") < 180


async def test_old_deliveries_are_deleted_and_new_ones_kept(post, database_url, sessions):
    await post.add()
    await post.event(1)
    await post.drain()
    month_ago = func.now() - timedelta(days=31)
    await post.change(update(Job).values(created_at=month_ago, status="failed"))
    await post.event(1)
    await post.drain()
    pool = await create_pool(database_url, size=1)

    expired = await expire(pool, EXPIRE_JOBS)

    await pool.close()
    assert expired == 1
    assert [job.status for job in await post.jobs()] == ["queued"]
