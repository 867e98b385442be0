"""POST and GET /training-runs, cancelling, resuming, and what a run wrote."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from services.feedback_api import queries, training_runs
from services.feedback_api.deps import Cursor, Limit, SessionDep, TrainerDep, request_key, runtime
from services.feedback_api.routes.posting import FIND_ERRORS, KEY_PARAMETER, READ_ERRORS
from services.feedback_api.run_views import (
    TrainingRunDetail,
    TrainingRunIn,
    TrainingRunPage,
    TrainingRunView,
)
from services.feedback_api.training_runs import OnceKey, Wish
from shared import jobs
from shared.contracts.training import RunKind
from shared.contracts.values import RunStatus
from shared.db.tables import TrainingRun
from shared.errors import Conflict, MalformedBody, TooLarge
from shared.keys import Principal
from shared.privacy import mac
from shared.web import problems

router = APIRouter(tags=["training"])
_SAME: dict[int | str, dict[str, Any]] = {
    200: {"model": TrainingRunView, "description": "The same run waits already"}
}


class RunFilters(BaseModel):
    status: RunStatus | None = None
    kind: RunKind | None = None


@router.post(
    "/training-runs",
    status_code=201,
    responses=READ_ERRORS | problems(MalformedBody, Conflict, TooLarge) | _SAME,
    openapi_extra={"parameters": [KEY_PARAMETER]},
    summary="Ask for a training run",
)
async def post_run(
    body: TrainingRunIn,
    principal: TrainerDep,
    session: SessionDep,
    request: Request,
    response: Response,
) -> TrainingRunView:
    """It waits for a worker of its queue; the same request while it waits is the same run."""
    training_runs.require_allowed(body.request, runtime(request).settings.training_allow)
    wish = Wish(
        body.request,
        body.queue,
        body.priority,
        body.dedupe_key,
        principal.project_id,
        principal.actor,
    )
    placed = await training_runs.ask(session, wish, await _once(request))
    response.status_code = 201 if placed.is_new else 200
    response.headers["Location"] = f"/training-runs/{placed.id}"
    return await _shown(session, placed.id, principal)


@router.get("/training-runs", responses=READ_ERRORS, summary="List training runs, newest first")
async def get_runs(
    principal: TrainerDep,
    session: SessionDep,
    filters: Annotated[RunFilters, Query()],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> TrainingRunPage:
    """Runs of every origin: asked for here, by a command, or by a schedule."""
    wanted = queries.conditions(TrainingRun, principal.project_id, filters.model_dump())
    page = await queries.read_page(session, TrainingRun, wanted, cursor=cursor, limit=limit)
    items = [TrainingRunView.of(run) for run in page.rows]
    return TrainingRunPage(items=items, next_cursor=page.next_cursor)


@router.get("/training-runs/{run_id}", responses=FIND_ERRORS, summary="One training run")
async def get_run(run_id: UUID, principal: TrainerDep, session: SessionDep) -> TrainingRunDetail:
    """How it goes or went, what came of it, and the last lines it wrote."""
    run = await training_runs.find(session, run_id, principal.project_id)
    return TrainingRunDetail.of_run(run, await training_runs.model_of(session, run))


@router.get(
    "/training-runs/{run_id}/log",
    responses=FIND_ERRORS | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=PlainTextResponse,
    summary="What a run wrote",
)
async def get_log(run_id: UUID, principal: TrainerDep, session: SessionDep) -> PlainTextResponse:
    """The last 16 KiB of the newest attempt; a run on a person's terminal has none."""
    run = await training_runs.find(session, run_id, principal.project_id)
    return PlainTextResponse(run.log_tail or "")


@router.post(
    "/training-runs/{run_id}/cancel",
    status_code=202,
    responses=FIND_ERRORS | problems(Conflict),
    summary="Cancel a training run",
)
async def post_cancel(run_id: UUID, principal: TrainerDep, session: SessionDep) -> TrainingRunView:
    """One that waits ends at once; one at work saves a checkpoint after its step and ends."""
    project_id = principal.project_id
    await jobs.cancel(session, TrainingRun, run_id, project_id=project_id)
    training_runs.note(session, "training_run.cancel", run_id, project_id, principal.actor)
    return await _shown(session, run_id, principal)


@router.post(
    "/training-runs/{run_id}/resume",
    status_code=202,
    responses=FIND_ERRORS | problems(Conflict),
    summary="Resume a training run",
)
async def post_resume(run_id: UUID, principal: TrainerDep, session: SessionDep) -> TrainingRunView:
    """One that was cancelled, failed or interrupted waits again, with new attempts."""
    project_id = principal.project_id
    await jobs.resume(session, run_id, project_id=project_id)
    training_runs.note(session, "training_run.resume", run_id, project_id, principal.actor)
    return await _shown(session, run_id, principal)


async def _shown(session: SessionDep, run_id: UUID, principal: Principal) -> TrainingRunView:
    return TrainingRunView.of(await training_runs.find(session, run_id, principal.project_id))


async def _once(request: Request) -> OnceKey | None:
    key = request_key(request)
    if key is None:
        return None
    return OnceKey(key, mac(runtime(request).secret, "body", await request.body()))
