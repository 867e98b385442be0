"""Keeps the people's keys that posts are sealed under alive until the posts are stored.

An erasure destroys a person's key first and then looks for rows. So a post either holds the key
and is found, or waits for the erasure and is refused: what is acknowledged can be read.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from services.feedback_api.writer.kinds import Post

# Key shares stand in the way of an erasure, and of nothing else.
HOLD_KEYS = """
SELECT project_id, person, created_at FROM rlhf_subject_keys
JOIN unnest($1::int[], $2::text[], $3::timestamptz[]) AS used (project_id, person, created_at)
USING (project_id, person, created_at)
WHERE wrapped_key IS NOT NULL
ORDER BY project_id, person FOR KEY SHARE OF rlhf_subject_keys
"""


class KeyLost(Exception):
    """A key that a post is sealed under was destroyed."""


@asynccontextmanager
async def holding_keys(
    connection: asyncpg.Connection, posts: Sequence[Post]
) -> AsyncIterator[None]:
    """Inside, no key of the posts is destroyed; without keys, this costs nothing.

    Raises:
        KeyLost: one is destroyed already.
    """
    if not any(post.used_keys for post in posts):
        yield
        return
    async with connection.transaction(isolation="read_committed"):
        if await hold_keys(connection, posts):
            raise KeyLost
        yield


async def hold_keys(connection: asyncpg.Connection, posts: Sequence[Post]) -> set[uuid.UUID]:
    """Keep their keys until the end of the transaction; the ids of posts that lost one.

    It must come first in a transaction: an erasure holds the key while it waits for rows.
    """
    wanted = sorted({key for post in posts for key in post.used_keys})
    if not wanted:
        return set()
    found = await connection.fetch(HOLD_KEYS, *map(list, zip(*wanted, strict=True)))
    lost = set(wanted) - {(row["project_id"], row["person"], row["created_at"]) for row in found}
    return {post.id for post in posts if not lost.isdisjoint(post.used_keys)}
