"""The newest report of a monitoring, which lies in the row of its job."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.monitoring import KIND, MonitoringReport
from shared.contracts.values import RunStatus
from shared.db.tables import Job
from shared.errors import NotFound


async def newest_report(
    session: AsyncSession, schedule: str, project_id: int
) -> MonitoringReport | None:
    """What a schedule's monitoring found the last time; None before the first."""
    newest = (
        select(col(Job.progress))
        .where(
            col(Job.project_id) == project_id,
            col(Job.schedule) == schedule,
            col(Job.kind) == KIND,
            col(Job.status) == RunStatus.SUCCEEDED,
        )
        .order_by(col(Job.due_at).desc().nulls_last())
        .limit(1)
    )
    found = await session.scalar(newest)
    return MonitoringReport.model_validate(found) if found else None


async def find_report(session: AsyncSession, schedule: str, project_id: int) -> MonitoringReport:
    """The same, where there has to be one.

    Raises:
        NotFound: no schedule of this name has monitored anything yet.
    """
    found = await newest_report(session, schedule, project_id)
    if found is None:
        raise NotFound(
            "No monitoring of this name has found anything yet: `heed schedules presets "
            "monitoring` installs one, and a worker carries it out."
        )
    return found
