"""Group commit: many posts in one transaction, each answered after it is durable.

The only place with raw asyncpg. `loop` collects and retries, `batch` is the transaction, `merge`
and `statements` say what a later post does to an earlier one, in Python and in SQL.
"""

from services.feedback_api.writer.kinds import (
    FEEDBACK,
    INTERACTION,
    PREFERENCE,
    STEP,
    Accepted,
    Kind,
    Post,
)
from services.feedback_api.writer.loop import Writer, create_pool
from services.feedback_api.writer.recording import record_interaction

__all__ = [
    "FEEDBACK",
    "INTERACTION",
    "PREFERENCE",
    "STEP",
    "Accepted",
    "Kind",
    "Post",
    "Writer",
    "create_pool",
    "record_interaction",
]
