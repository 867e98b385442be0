"""Posts of a person at the moment of their erasure: part of it, or new data; never half of each."""

import asyncio

from sqlalchemy import delete, select, text, update
from sqlmodel import col

from shared.db.tables import Erasure, Feedback, FeedbackHistory, Receipt


def feedback(rater, **given):
    return {"prompt": "p", "response": "r", "rating": 4, "rater_id": rater} | given


async def test_posts_in_flight_are_erased_or_new_and_never_merged_with_what_is_gone(
    post, client, rows
):
    """A post either takes part in the erasure or knows nothing of what was erased."""

    async def keep_posting(worker):
        for number in range(30):
            body = feedback(7, feedback_id=f"f{worker}", rating=1 + number % 5)
            await post("/feedback", body | {"step_id": str(worker)})

    async def keep_erasing():
        for _ in range(10):
            reply = await client.delete("/subjects/7", params={"kind": "rater"})
            assert reply.status_code in (200, 202, 404)
            await asyncio.sleep(0.01)

    for worker in range(4):
        await post("/feedback", feedback(7, comment="old secret", step_id=str(worker)))
    await asyncio.gather(*map(keep_posting, range(4)), keep_erasing())
    for table in (Feedback, FeedbackHistory):
        assert {row.comments for row in await rows(table)} <= {None}
    await client.delete("/subjects/7", params={"kind": "rater"})

    for table in (Feedback, FeedbackHistory, Receipt):
        assert await rows(table) == []


async def test_a_post_that_waits_for_the_erasure_starts_anew(
    post, erase, rows, shared_sessions, project
):
    await post("/feedback", feedback(7, comment="old secret"))
    async with shared_sessions.begin() as session:  # holds the row, so that both wait for it
        await session.execute(
            select(Feedback).where(col(Feedback.project_id) == project).with_for_update()
        )
        erasing = asyncio.create_task(erase(7))
        await _wait_for_lock(session, 1)
        posting = asyncio.create_task(post("/feedback", feedback(7, rating=1)))
        await _wait_for_lock(session, 2)
    await asyncio.gather(erasing, posting)

    assert [(row.rating, row.comments) for row in await rows(Feedback)] == [(1, None)]
    assert await rows(FeedbackHistory) == []


async def _wait_for_lock(session, count):
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database()) "
        "OR NOT granted AND locktype = 'transactionid'"
    )
    for _ in range(500):
        if (await session.scalar(waiting) or 0) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_a_version_that_appears_while_rows_are_locked_is_erased_too(
    post, erase, rows, shared_sessions, project
):
    """The writer has changed the row and not committed when the erasure looks for it."""
    await post("/feedback", feedback(7, comment="old secret"))
    async with shared_sessions.begin() as session:
        statement = update(Feedback).where(col(Feedback.project_id) == project)
        await session.execute(statement.values(id=text("gen_random_uuid()"), rating=1))
        erasing = asyncio.create_task(erase(7))
        await _wait_for_lock(session, 1)
    await erasing

    assert await rows(Feedback) == await rows(FeedbackHistory) == []


async def test_a_row_that_is_written_anew_while_it_is_waited_for_is_found_again(
    post, erase, rows, shared_sessions, project
):
    """As when feedback that waits for its interaction joins it: same id, another `seq`."""
    await post("/feedback", feedback(7))
    async with shared_sessions.begin() as session:
        statement = select(Feedback).where(col(Feedback.project_id) == project)
        row = (await session.scalars(statement)).one()
        await session.execute(delete(Feedback).where(col(Feedback.id) == row.id))
        erasing = asyncio.create_task(erase(7))
        await _wait_for_lock(session, 1)
        anew = Feedback(**row.model_dump(exclude={"seq", "xid", "created_at"}))
        session.expunge(row)
        session.add(anew)
        await session.flush()
        seq = anew.seq
    await erasing

    [erasure] = await rows(Erasure)
    assert erasure.seqs == [seq]
    assert await rows(Feedback) == []
