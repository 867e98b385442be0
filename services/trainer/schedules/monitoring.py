"""Monitoring as a job: looks, keeps the report in the job's row, and tells what is new in it."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.schedules.watching import watch
from services.trainer.small_jobs import Trade
from services.trainer.workplace import Workplace
from shared.contracts.monitoring import KIND, MonitoringReport, MonitoringRequest, Warned
from shared.contracts.values import Event, RunStatus
from shared.db.events import announce
from shared.db.tables import Job
from shared.jobs import finish
from shared.logs import get_logger
from shared.schedules.reports import newest_report

log = get_logger("monitoring")


async def carry_out(workplace: Workplace, job: Job) -> None:
    """Look, and finish the job with what was found.

    A warning that the report before did not hold is told by an event, so that a webhook hears of it
    once and not every hour.

    Raises:
        RunInterrupted: the claim was lost.
        Unavailable: something is away for now.
    """
    asked = MonitoringRequest.model_validate({k: v for k, v in job.params.items() if k != "kind"})
    report = await watch(workplace, asked, job.project_id, datetime.now(UTC))
    async with workplace.sessions.begin() as session:
        new = await _not_told_before(session, job, report)
        told = report.model_dump(mode="json")
        await finish(session, job, RunStatus.SUCCEEDED, progress=told, error=None)
        if new:
            warnings = [one.model_dump(mode="json", exclude={"about"}) for one in new]
            payload = {"job_id": str(job.id), "schedule": job.schedule, "warnings": warnings}
            announce(session, Event.MONITORING_WARNED, payload, project_id=job.project_id)
    for one in report.warnings:
        log.warning("monitoring warns", kind=one.kind, value=one.value, counted=one.counted)


MONITORING = Trade(KIND, carry_out)


async def _not_told_before(
    session: AsyncSession, job: Job, report: MonitoringReport
) -> list[Warned]:
    before = await newest_report(session, job.schedule or "", job.project_id)
    known = {(one.kind, one.about) for one in before.warnings} if before else set()
    return [one for one in report.warnings if (one.kind, one.about) not in known]
