"""A loaded database counts on the transactions of its new server."""

import pytest
from sqlalchemy import func, select, text
from sqlmodel import col

from shared.db.restored import settle_transactions
from shared.db.tables import Dataset, Feedback, Outbox, Schedule

AHEAD = 10**12


@pytest.fixture
async def loaded(sessions):
    """Rows as another server wrote them: two before a watermark, two from it on, one later."""
    async with sessions.begin() as session:
        for number in (0, 1, 5, 6, 9):
            session.add(
                Feedback(
                    feedback_id=str(number),
                    target=str(number),
                    consent_training=True,
                    xid=text(f"'{AHEAD + number}'::xid8"),
                )
            )
        session.add(Dataset(name="d", sha256="", uri="", rows=2, watermark=AHEAD + 5))
        session.add(Schedule(name="s", threshold={"samples": 3, "reached_at": AHEAD + 8}, run={}))
        session.add(Outbox(event="feedback.created", xid=text(f"'{AHEAD}'::xid8")))


async def settled(session, table) -> int:
    is_settled = col(table.xid) < func.pg_snapshot_xmin(func.pg_current_snapshot())
    return await session.scalar(select(func.count()).select_from(table).where(is_settled))


async def test_loaded_rows_are_settled_at_once(sessions, loaded):
    async with sessions() as session:
        before = [await settled(session, table) for table in (Feedback, Outbox)]
    async with sessions.begin() as session:
        changed = await settle_transactions(session)

    async with sessions() as session:
        after = [await settled(session, table) for table in (Feedback, Outbox)]
    assert changed
    assert (before, after) == ([0, 0], [5, 1])


async def test_what_came_after_a_watermark_still_does(sessions, loaded):
    async with sessions.begin() as session:
        await settle_transactions(session)

    async with sessions() as session:
        after_dataset = text(
            "SELECT feedback_id FROM rlhf_feedback, rlhf_datasets WHERE xid >= watermark ORDER BY 1"
        )
        after_threshold = text(
            "SELECT feedback_id FROM rlhf_feedback, rlhf_schedules "
            "WHERE xid >= (threshold ->> 'reached_at')::xid8"
        )
        assert list(await session.scalars(after_dataset)) == ["5", "6", "9"]
        assert list(await session.scalars(after_threshold)) == ["9"]


async def test_rows_written_from_then_on_come_after_every_watermark(sessions, loaded):
    async with sessions.begin() as session:
        await settle_transactions(session)
    async with sessions.begin() as session:
        session.add(Feedback(feedback_id="new", target="new", consent_training=True))

    async with sessions() as session:
        newest = text(
            "SELECT max(watermark::text::bigint) < max(xid::text::bigint) FROM "
            "rlhf_datasets, rlhf_feedback WHERE feedback_id = 'new'"
        )
        assert await session.scalar(newest)


async def test_a_database_of_this_server_is_left_as_it_is(sessions):
    async with sessions.begin() as session:
        session.add(Feedback(feedback_id="f", target="t", consent_training=True))
    xid = select(col(Feedback.xid))
    async with sessions() as session:
        before = await session.scalar(xid)
    async with sessions.begin() as session:
        changed = await settle_transactions(session)

    async with sessions() as session:
        assert await session.scalar(xid) == before
    assert not changed


async def test_rows_without_any_watermark_are_settled_too(sessions):
    async with sessions.begin() as session:
        session.add(Outbox(event="feedback.created", xid=text(f"'{AHEAD}'::xid8")))
    async with sessions.begin() as session:
        await settle_transactions(session)

    async with sessions() as session:
        assert await settled(session, Outbox) == 1
