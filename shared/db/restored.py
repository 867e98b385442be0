"""Transaction ids of a database that was loaded into another server.

Rows keep the id of the transaction that wrote them, and count as settled once every transaction up
to it has ended. A new server starts counting anew, so loaded rows would look as if they came from
the future: neither trained on nor counted nor handed out until the server had counted that far.
"""

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

_TABLES = (
    "rlhf_feedback",
    "rlhf_feedback_history",
    "rlhf_preferences",
    "rlhf_preferences_history",
    "rlhf_outbox",
)
# Of watermarks beyond so many only the newest stay apart; a new server has counted further.
_MOST_MARKS = 200
_FIRST = 3  # the first transaction id that Postgres gives to anybody

_MARKS = text("""
WITH marks AS (
    SELECT watermark::text::numeric AS mark FROM rlhf_datasets WHERE watermark IS NOT NULL
    UNION
    SELECT (threshold ->> 'reached_at')::numeric FROM rlhf_schedules
    WHERE (threshold ->> 'reached_at')::numeric > 0
)
SELECT mark::text FROM (SELECT mark FROM marks ORDER BY mark DESC LIMIT :most) AS newest
ORDER BY mark
""")
_NEW = f"({_FIRST} + width_bucket(%s, CAST(CAST(:marks AS text[]) AS numeric[])))"
_LATEST = " UNION ALL ".join(
    f"SELECT max(xid) AS xid FROM {table}"  # noqa: S608 - names of our own
    for table in _TABLES
)
_IS_AHEAD = text(
    "SELECT coalesce(max(xid) >= pg_snapshot_xmin(pg_current_snapshot()), false) "  # noqa: S608
    f"FROM ({_LATEST}) AS latest"
)


async def settle_transactions(session: AsyncSession) -> bool:
    """Whether ids were ahead of this server; now they are not.

    Every id becomes the number of watermarks up to it, and watermarks likewise, so that what lay
    before a watermark and what lay after it stay apart. Nothing changes the second time.
    """
    if not await session.scalar(_IS_AHEAD):
        return False
    marks = list(await session.scalars(_MARKS, {"most": _MOST_MARKS}))
    for table in _TABLES:
        await session.execute(_renumber(table, "xid"), {"marks": marks})
    await session.execute(_renumber("rlhf_datasets", "watermark"), {"marks": marks})
    await session.execute(_REACHED, {"marks": marks})
    return True


def _renumber(table: str, column: str) -> TextClause:
    new = _NEW % f"{column}::text::numeric"
    return text(
        f"UPDATE {table} SET {column} = {new}::text::xid8 WHERE {column} IS NOT NULL"  # noqa: S608
    )


_REACHED = text(
    "UPDATE rlhf_schedules SET threshold = jsonb_set(threshold, '{reached_at}', to_jsonb("  # noqa: S608
    + _NEW % "(threshold ->> 'reached_at')::numeric"
    + ")) WHERE (threshold ->> 'reached_at')::numeric > 0"
)
