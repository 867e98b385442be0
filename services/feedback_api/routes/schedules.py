"""GET, PUT and DELETE /schedules: when training runs start by themselves."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from services.feedback_api.deps import SessionDep, TrainerDep, runtime
from services.feedback_api.routes.posting import FIND_ERRORS, READ_ERRORS
from services.feedback_api.training_runs import require_allowed
from shared.contracts.monitoring import MonitoringReport
from shared.contracts.schedules import NAME_PATTERN, Firing, ScheduleIn
from shared.errors import MalformedBody, TooLarge
from shared.schedules.reports import find_report
from shared.schedules.stored import (
    Owner,
    Standing,
    find_schedule,
    list_schedules,
    put_schedule,
    remove_schedule,
)
from shared.web import problems

router = APIRouter(tags=["schedules"])
ScheduleName = Annotated[
    str, Path(pattern=NAME_PATTERN, description="Letters, digits, dots, dashes, underscores.")
]


class ScheduleOut(ScheduleIn):
    """A schedule, when it is due next, and what came of the last time."""

    name: str
    next_at: datetime | None = Field(description="Null without a cron.")
    counted: int | None = Field(description="Samples there are by now; null where none count.")
    last_due_at: datetime | None = Field(description="When it was last due.")
    last_outcome: Firing | None = Field(
        description="`started` a run; `collapsed` into one that waited already; `too_few` samples."
    )
    last_id: UUID | None = Field(description="That run, or the job of a monitoring.")

    @classmethod
    def of(cls, standing: Standing) -> "ScheduleOut":
        """The row as it is shown."""
        row = standing.schedule
        return cls(
            **dict(standing.wanted),
            name=row.name,
            next_at=row.next_at,
            counted=standing.counted,
            last_due_at=row.last_due_at,
            last_outcome=Firing(row.last_outcome) if row.last_outcome else None,
            last_id=row.last_id,
        )


@router.get("/schedules", responses=READ_ERRORS, summary="List the schedules of the project")
async def get_schedules(principal: TrainerDep, session: SessionDep) -> list[ScheduleOut]:
    """All of them, by name."""
    found = await list_schedules(session, principal.project_id)
    return [ScheduleOut.of(standing) for standing in found]


@router.get("/schedules/{name}", responses=FIND_ERRORS, summary="One schedule")
async def get_schedule(
    name: ScheduleName, principal: TrainerDep, session: SessionDep
) -> ScheduleOut:
    """The schedule, and how far its threshold is."""
    return ScheduleOut.of(await find_schedule(session, name, principal.project_id))


@router.get(
    "/schedules/{name}/report", responses=FIND_ERRORS, summary="What a monitoring found last"
)
async def get_report(
    name: ScheduleName, principal: TrainerDep, session: SessionDep
) -> MonitoringReport:
    """Averages, volume, the live model's agreement with the newest judgements, and warnings."""
    return await find_report(session, name, principal.project_id)


@router.put(
    "/schedules/{name}",
    responses=READ_ERRORS
    | problems(MalformedBody, TooLarge)
    | {201: {"model": ScheduleOut, "description": "A new schedule"}},
    summary="Set a schedule",
)
async def put_schedule_of_name(
    name: ScheduleName,
    *,
    body: ScheduleIn,
    principal: TrainerDep,
    session: SessionDep,
    request: Request,
    reply: Response,
) -> ScheduleOut:
    """In place of one of this name: 201 for a new one, 200 for a change."""
    if body.run is not None:
        require_allowed(body.run, runtime(request).settings.training_allow, at="/run")
        run = body.run.model_copy(update={"command": ""})  # people are shown it, to type it
        body = body.model_copy(update={"run": run})
    owner = Owner(principal.project_id, principal.actor)
    is_new = await put_schedule(session, name, body, owner, datetime.now(UTC))
    reply.status_code = 201 if is_new else 200
    return ScheduleOut.of(await find_schedule(session, name, principal.project_id))


@router.delete(
    "/schedules/{name}", status_code=204, responses=FIND_ERRORS, summary="Remove a schedule"
)
async def delete_schedule(name: ScheduleName, principal: TrainerDep, session: SessionDep) -> None:
    """What it has enqueued stays."""
    await remove_schedule(session, name, Owner(principal.project_id, principal.actor))
