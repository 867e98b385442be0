"""The scheduler beside a worker: looks every few seconds, by the clock of the database.

One clock for all, so that machines whose clocks differ agree on what is due.
"""

import asyncio

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.trainer.schedules.scheduler import Fired, Scheduler
from shared.db.faults import reaching_database
from shared.errors import DatabaseUnavailable
from shared.logs import get_logger

TICK_S = 5.0

log = get_logger("scheduler")


async def keep_scheduling(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Enqueue what is due for ever; cancel to stop."""
    scheduler = Scheduler(sessions)
    while True:
        try:
            await tick_now(scheduler)
        except DatabaseUnavailable:
            log.warning("schedules wait for the database")
        except Exception:  # whatever one look met, the next one must come
            log.exception("schedules cannot be looked at")
        await asyncio.sleep(TICK_S)


async def tick_now(scheduler: Scheduler) -> list[Fired]:
    """What is due by the clock of the database, enqueued.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached.
    """
    with reaching_database():
        async with scheduler.sessions() as session:
            now = (await session.execute(select(func.now()))).scalar_one()
    return await scheduler.tick(now)
