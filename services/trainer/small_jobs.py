"""Works through jobs that are no training runs, beside the runs of a worker.

Each queue has a loop of its own, so that none waits for another, nor for a long run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.execution import owner_name
from services.trainer.faults import where
from services.trainer.workplace import Workplace
from shared.db.faults import reaching_database, unreachable
from shared.db.tables import Job
from shared.errors import DatabaseUnavailable, HeedError, RunInterrupted
from shared.jobs import claim, release, renew, retry
from shared.logs import get_logger

POLL_S = 2.0
_RENEW_S = 1.0
_ENDING_S = 5.0

log = get_logger("trainer")


@dataclass(frozen=True)
class Trade:
    """What is done with the jobs of one queue; `carry_out` does one and finishes its row."""

    queue: str
    carry_out: Callable[[Workplace, Job], Awaitable[None]]


async def keep_working(workplace: Workplace, trade: Trade, woken: asyncio.Event) -> None:
    """Take one job after the other for ever; cancel to stop, and its claim is given back."""
    while True:
        try:
            if await work_off_one(workplace, trade):
                continue
        except DatabaseUnavailable:
            log.warning("the database is away")
        except Exception:  # whatever one job met, the next one must come
            log.exception("a queue is held up", queue=trade.queue)
        woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await woken.wait()


async def work_off_one(workplace: Workplace, trade: Trade) -> bool:
    """Whether a job was waiting; it is finished, or waits for its next attempt.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached; the claim runs out by itself.
    """
    with reaching_database():
        async with workplace.sessions.begin() as session:
            job = await claim(session, Job, queues=[trade.queue], owner=owner_name())
    if job is None:
        return False
    await _work_on(workplace, trade, job)
    return True


async def _work_on(workplace: Workplace, trade: Trade, job: Job) -> None:
    work = asyncio.ensure_future(trade.carry_out(workplace, job))
    told = {"kind": job.kind, "job": str(job.id)}
    try:
        await _watch(workplace, job, work)
    except asyncio.CancelledError:
        await _stop(work)
        # It was finished just now, or the claim runs out by itself.
        with suppress(RunInterrupted, DatabaseUnavailable):
            await _transact(workplace, partial(release, row=job))
        raise
    except RunInterrupted as error:
        log.warning(error.detail, **told)
    except Exception as error:  # noqa: BLE001 - the next job must not wait for this one
        if (lost := unreachable(error)) is not None:
            raise lost from None
        reason = error.detail if isinstance(error, HeedError) else where(error)
        log.error("a job is not finished", **told, reason=reason)
        with suppress(RunInterrupted):  # somebody else has it by now
            await _transact(workplace, partial(retry, row=job, error=reason))
    else:
        log.info("a job is finished", **told)
    finally:
        await _stop(work)


async def _watch(workplace: Workplace, job: Job, work: "asyncio.Future[None]") -> None:
    """Keep the claim until the work is done; what it raises is raised here.

    Where the row is closed already, the work was done just now and is about to end, or the claim
    is lost.
    """
    while not (await asyncio.wait({work}, timeout=_RENEW_S))[0]:
        try:
            await _transact(workplace, partial(renew, row=job))
        except RunInterrupted:
            if not (await asyncio.wait({work}, timeout=_ENDING_S))[0]:
                raise
    await work


async def _stop(work: "asyncio.Future[None]") -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def _transact(
    workplace: Workplace, step: Callable[[AsyncSession], Awaitable[object]]
) -> None:
    with reaching_database():
        async with workplace.sessions.begin() as session:
            await step(session)
