"""Records an interaction, and hands it the feedback that was waiting for it."""

import asyncpg

from services.feedback_api.writer.batch import apply
from services.feedback_api.writer.interactions import lock_id, point_at, session_key
from services.feedback_api.writer.kinds import FEEDBACK, Accepted, Post
from services.feedback_api.writer.loop import with_retries
from services.feedback_api.writer.receipts import check_receipts
from services.feedback_api.writer.sealed import hold_keys
from services.feedback_api.writer.statements import as_json, insert_interaction
from shared.errors import Conflict, HeedError
from shared.privacy.fields import key_destroyed

LOCK_SESSION = "SELECT pg_advisory_xact_lock($1)"
TAKE_WAITING = """
DELETE FROM rlhf_feedback
WHERE pending AND (project_id, session_id, agent_name) = ($1, $2, $3) RETURNING *
"""


async def record_interaction(pool: asyncpg.Pool, post: Post, *, retry_s: float) -> Accepted:
    """Commit one interaction; what waited for its session and agent becomes feedback on it.

    Raises:
        Conflict: the id was recorded with another content.
        InvalidInput: the Idempotency-Key was used with another body.
        Overloaded: somebody it names was erased since it was sealed.
        DatabaseUnavailable: Postgres stayed away; the interaction is not acknowledged.
    """
    return await with_retries(pool, lambda connection: _record(connection, post), retry_s=retry_s)


async def _record(connection: asyncpg.Connection, post: Post) -> Accepted:
    async with connection.transaction(isolation="read_committed"):
        if await hold_keys(connection, [post]):
            raise key_destroyed()
        if _has_session(post):
            await connection.execute(LOCK_SESSION, lock_id(session_key(post.row)))
        outcomes, edits = await check_receipts(connection, [post])
        if (outcome := outcomes.get(post.id)) is not None:
            if isinstance(outcome, HeedError):
                raise outcome
            return outcome
        inserted = not edits and await connection.fetch(insert_interaction(), as_json([post.row]))
        if not inserted:
            raise Conflict(
                "This interaction is recorded with another content; an interaction never changes. "
                "Record the new exchange under an id of its own."
            )
        if _has_session(post):
            await _adopt_waiting(connection, post)
    return Accepted(post.reply("live"), is_new=True)


def _has_session(post: Post) -> bool:
    return post.row["session_id"] is not None and post.row["agent_name"] is not None


async def _adopt_waiting(connection: asyncpg.Connection, post: Post) -> None:
    found = await connection.fetch(TAKE_WAITING, *session_key(post.row))
    rows = [{name: record[name] for name in FEEDBACK.names} for record in found]
    for row in rows:
        point_at(row, post.row["interaction_id"])
    await apply(connection, FEEDBACK, rows, edited=set())
