"""Feedback that names only a session and an agent, and the interaction it is about.

Whichever comes first, they find one another: both take the same advisory lock, so that neither
looks before the other has committed.
"""

import hashlib
from collections.abc import Sequence

import asyncpg
from pydantic_core import to_json

from services.feedback_api.writer.kinds import Post, Row

LOCK_SESSIONS = "SELECT pg_advisory_xact_lock_shared(key) FROM unnest($1::bigint[]) AS key"
NEWEST_INTERACTIONS = """
SELECT wanted.project_id, wanted.session_id, wanted.agent_name, newest.interaction_id
FROM unnest($1::int[], $2::text[], $3::text[]) AS wanted (project_id, session_id, agent_name)
CROSS JOIN LATERAL (
    SELECT interaction_id FROM rlhf_interaction_records AS record
    WHERE (record.project_id, record.session_id, record.agent_name)
        = (wanted.project_id, wanted.session_id, wanted.agent_name)
    ORDER BY "timestamp" DESC, id DESC LIMIT 1
) AS newest
"""
SessionKey = tuple[int, str, str]


def session_key(row: Row) -> SessionKey:
    """What the advisory lock and the search are about."""
    return row["project_id"], row["session_id"], row["agent_name"]


async def join_interactions(connection: asyncpg.Connection, posts: Sequence[Post]) -> None:
    """Point waiting posts at the newest interaction of their session and agent, if there is one."""
    waiting = [post.row for post in posts if post.row.get("pending")]
    if not waiting:
        return
    keys = sorted({session_key(row) for row in waiting})
    await connection.execute(LOCK_SESSIONS, sorted(map(lock_id, keys)))
    found = await connection.fetch(NEWEST_INTERACTIONS, *map(list, zip(*keys, strict=True)))
    newest = {session_key(row): row["interaction_id"] for row in found}
    for row in waiting:
        if (interaction_id := newest.get(session_key(row))) is not None:
            point_at(row, interaction_id)


def point_at(row: Row, interaction_id: str) -> None:
    """Make a waiting row feedback on that interaction."""
    row.update(interaction_id=interaction_id, target=interaction_id, pending=False)


def lock_id(key: SessionKey) -> int:
    """The advisory lock of one session and agent."""
    digest = hashlib.blake2b(to_json(["session", *key]), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
