"""What the database needs from time to time: what is old goes, next months' partitions come."""

import asyncio

import asyncpg

from shared.db.faults import reaching_database
from shared.errors import DatabaseUnavailable
from shared.logs import get_logger

INTERVAL_S = 3600.0
ROWS_PER_STATEMENT = 5000
MONTHS_AHEAD = 3

# In portions, so that no statement holds locks for long; posts insert receipts all the time.
EXPIRE_RECEIPTS = """
DELETE FROM rlhf_receipts WHERE (project_id, key) IN (
    SELECT project_id, key FROM rlhf_receipts WHERE created_at < now() - interval '30 days'
    LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING 1
"""
EXPIRE_EVENTS = """
DELETE FROM rlhf_outbox WHERE id IN (
    SELECT id FROM rlhf_outbox WHERE created_at < now() - interval '30 days'
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING 1
"""
EXPIRE_JOBS = """
DELETE FROM rlhf_jobs WHERE id IN (
    SELECT id FROM rlhf_jobs WHERE created_at < now() - interval '30 days'
        AND (finished_at < now() - interval '30 days' OR kind = 'webhook')
    LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING 1
"""
ENSURE_PARTITIONS = "SELECT heed_ensure_partitions($1)"

log = get_logger("feedback_api")


async def keep_up(pool: asyncpg.Pool) -> None:
    """Delete what is old and make partitions, every hour for ever; cancel to stop."""
    while True:
        try:
            with reaching_database():
                receipts = await expire(pool, EXPIRE_RECEIPTS)
                events = await expire(pool, EXPIRE_EVENTS)
                jobs = await expire(pool, EXPIRE_JOBS)
                partitions = await pool.fetchval(ENSURE_PARTITIONS, MONTHS_AHEAD)
            log.info(
                "upkeep is done", receipts=receipts, events=events, jobs=jobs, partitions=partitions
            )
        except (DatabaseUnavailable, asyncpg.PostgresError) as error:
            log.warning("upkeep waits for the next hour", type=type(error).__name__)
        await asyncio.sleep(INTERVAL_S)


async def expire(pool: asyncpg.Pool, statement: str) -> int:
    """How many rows older than 30 days a statement such as `EXPIRE_EVENTS` deleted."""
    expired = 0
    while deleted := len(await pool.fetch(statement, ROWS_PER_STATEMENT)):
        expired += deleted
    return expired
