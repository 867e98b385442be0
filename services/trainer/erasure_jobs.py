"""Works through the jobs that erasures leave, beside the training runs of a worker.

A job is mostly reading and writing files, in threads; it never waits for a training run, nor a
run for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.erasing import carry_out
from services.trainer.execution import owner_name
from services.trainer.faults import where
from services.trainer.workplace import Workplace
from shared.db.faults import reaching_database, unreachable
from shared.db.tables import Erasure, Job
from shared.errors import DatabaseUnavailable, HeedError, RunInterrupted
from shared.jobs import claim, release, renew, retry
from shared.logs import get_logger

QUEUE = "erasure"
POLL_S = 2.0
_RENEW_S = 1.0

log = get_logger("trainer")


async def keep_erasing(workplace: Workplace, woken: asyncio.Event) -> None:
    """Take one job after the other for ever; cancel to stop, and its claim is given back."""
    while True:
        try:
            if await work_off_one(workplace):
                continue
        except DatabaseUnavailable:
            log.warning("the database is away")
        woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await woken.wait()


async def work_off_one(workplace: Workplace) -> bool:
    """Whether an erasure was waiting; it is finished, or waits for its next attempt.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached; the claim runs out by itself.
    """
    with reaching_database():
        async with workplace.sessions.begin() as session:
            job = await claim(session, Job, queues=[QUEUE], owner=owner_name())
        if job is None:
            return False
        await _work_on(workplace, job)
        return True


async def reason_of_failure(workplace: Workplace, erasure: Erasure) -> str | None:
    """Why the newest attempt at an erasure's files failed; None while none has."""
    async with workplace.sessions() as session:
        statement = select(col(Job.error)).where(
            col(Job.project_id) == erasure.project_id,
            col(Job.kind) == QUEUE,
            col(Job.params)["erasure_id"].astext == str(erasure.id),
        )
        return await session.scalar(statement)


async def _work_on(workplace: Workplace, job: Job) -> None:
    erasure = job.params["erasure_id"]
    work = asyncio.create_task(carry_out(workplace, job))
    try:
        await _watch(workplace, job, work)
    except asyncio.CancelledError:
        await _stop(work)
        with suppress(RunInterrupted):  # it was finished just now
            await _transact(workplace, partial(release, row=job))
        raise
    except RunInterrupted as error:
        log.warning(error.detail, erasure=erasure)
    except Exception as error:  # noqa: BLE001 - the next job must not wait for this one
        if (lost := unreachable(error)) is not None:
            raise lost from None
        reason = error.detail if isinstance(error, HeedError) else where(error)
        log.error("an erasure is not finished", erasure=erasure, reason=reason)
        await _transact(workplace, partial(retry, row=job, error=reason))
    else:
        log.info("an erasure is finished", erasure=erasure)
    finally:
        await _stop(work)


async def _watch(workplace: Workplace, job: Job, work: "asyncio.Task[None]") -> None:
    """Keep the claim until the work is done; what it raises is raised here."""
    while not (await asyncio.wait({work}, timeout=_RENEW_S))[0]:
        await _transact(workplace, partial(renew, row=job))
    await work


async def _stop(work: "asyncio.Task[None]") -> None:
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def _transact(
    workplace: Workplace, step: Callable[[AsyncSession], Awaitable[object]]
) -> None:
    async with workplace.sessions.begin() as session:
        await step(session)
