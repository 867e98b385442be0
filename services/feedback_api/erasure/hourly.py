"""What erasures promise for later, looked after every hour: retention, deadlines, failed jobs."""

import asyncio

from sqlalchemy import exc, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.erasure.recording import ATTEMPTS, JOB
from services.feedback_api.erasure.retention import expire_rows
from services.feedback_api.erasure.taint import ErasurePolicy, apply_policy
from shared.contracts.values import RunStatus
from shared.db.faults import reaching_database
from shared.db.tables import Job, Project
from shared.errors import DatabaseUnavailable, Overloaded
from shared.logs import get_logger

INTERVAL_S = 3600.0

Sessions = async_sessionmaker[AsyncSession]
log = get_logger("feedback_api")


async def keep_promises(sessions: Sessions, settings: FeedbackSettings) -> None:
    """Look after them now and every hour, for ever; cancel to stop."""
    while True:
        try:
            with reaching_database():
                expired = await expire_rows(sessions, settings.retention_days)
                acted = await look_after_models(sessions, ErasurePolicy.of(settings))
                again = await take_up_failed(sessions)
            log.info("promises are kept", expired=dict(expired), models=acted, jobs=again)
        except (DatabaseUnavailable, Overloaded, exc.DBAPIError) as error:
            log.warning("promises wait for the next hour", type=type(error).__name__)
        await asyncio.sleep(INTERVAL_S)


async def look_after_models(sessions: Sessions, policy: ErasurePolicy) -> int:
    """How many tainted live models were retired or are trained anew, in all projects."""
    async with sessions() as session:
        projects = (await session.scalars(select(col(Project.id)))).all()
    acted = 0
    for project_id in projects:
        async with sessions.begin() as session:
            acted += await apply_policy(session, policy, project_id)
    return acted


async def take_up_failed(sessions: Sessions) -> int:
    """Let erasures that failed again and again be tried again; an erasure is never given up."""
    failed = (
        update(Job)
        .where(col(Job.kind) == JOB, col(Job.status) == RunStatus.FAILED)
        .values(
            status=RunStatus.QUEUED,
            max_attempts=col(Job.attempt) + ATTEMPTS,
            run_after=func.now(),
            finished_at=None,
        )
        .returning(col(Job.id))
    )
    async with sessions.begin() as session:
        return len((await session.scalars(failed)).all())
