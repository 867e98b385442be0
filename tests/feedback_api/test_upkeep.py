"""Receipts and events expire after 30 days."""

import asyncpg
import pytest
from sqlalchemy import text

from services.feedback_api.upkeep import EXPIRE_EVENTS, EXPIRE_RECEIPTS, expire
from services.feedback_api.writer import create_pool
from shared.db.tables import Outbox, Receipt


@pytest.fixture
async def pool(shared_database_url: str):
    pool: asyncpg.Pool = await create_pool(shared_database_url, size=1)
    yield pool
    await pool.close()


async def test_only_receipts_older_than_thirty_days_are_deleted(
    client, rows, shared_sessions, project, pool
):
    for name in ("old", "new"):
        post = {"prompt": "p", "response": "r", "rating": 3, "feedback_id": name}
        await client.post("/feedback", json=post)
    async with shared_sessions.begin() as session:
        age = text(
            "UPDATE rlhf_receipts SET created_at = now() - interval '31 days' "
            "WHERE project_id = :project AND key LIKE '%/old'"
        )
        await session.execute(age, {"project": project})

    expired = await expire(pool, EXPIRE_RECEIPTS)

    assert expired == 1
    assert [row.key for row in await rows(Receipt)] == ["feedback/id/new"]


async def test_only_events_older_than_thirty_days_are_deleted(
    client, rows, shared_sessions, project, pool
):
    for _ in range(2):
        await client.post("/feedback", json={"prompt": "p", "response": "r", "rating": 3})
    old, new = sorted(await rows(Outbox), key=lambda event: event.id)
    async with shared_sessions.begin() as session:
        age = text("UPDATE rlhf_outbox SET created_at = now() - interval '31 days' WHERE id = :id")
        await session.execute(age, {"id": old.id})

    expired = await expire(pool, EXPIRE_EVENTS)

    assert expired == 1
    assert [event.id for event in await rows(Outbox)] == [new.id]
