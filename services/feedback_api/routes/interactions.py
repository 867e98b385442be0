"""POST and GET /interactions."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, TypeAdapter

from services.feedback_api import examples, queries
from services.feedback_api.deps import (
    CipherDep,
    Cursor,
    Limit,
    ReaderDep,
    SessionDep,
    SourceDep,
    parse,
    runtime,
)
from services.feedback_api.intake import interaction_post
from services.feedback_api.routes.posting import (
    FIND_ERRORS,
    READ_ERRORS,
    RECORD_ERRORS,
    body_description,
    repeated,
    stored_reply,
)
from services.feedback_api.schemas import InteractionIn, InteractionStored
from services.feedback_api.views import InteractionPage, InteractionView
from services.feedback_api.writer import record_interaction
from shared.db.tables import InteractionRecord

router = APIRouter(tags=["interactions"])

BODY: TypeAdapter[InteractionIn] = TypeAdapter(InteractionIn)


class InteractionFilters(BaseModel):
    session_id: str | None = None
    agent_name: str | None = None
    since: AwareDatetime | None = None


@router.post(
    "/interactions",
    status_code=201,
    response_model=InteractionStored,
    responses=repeated(InteractionStored) | RECORD_ERRORS,
    openapi_extra=body_description("InteractionIn", examples.INTERACTION),
    summary="Record a prompt and its response",
)
async def post_interaction(request: Request, source: SourceDep) -> Response:
    """Record an exchange. Feedback may point at it before or after; it never changes."""
    running = runtime(request)
    post = await running.admit(interaction_post(parse(BODY, source.raw_body), source))
    retry_s = running.settings.feedback_retry_s
    accepted = await record_interaction(running.pool, post, retry_s=retry_s)
    return stored_reply(accepted, location="/interactions")


@router.get("/interactions", responses=READ_ERRORS, summary="Read interactions, newest first")
async def list_interactions(
    principal: ReaderDep,
    session: SessionDep,
    cipher: CipherDep,
    *,
    filters: Annotated[InteractionFilters, Query()],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> InteractionPage:
    """One page of recorded interactions; `since` is the earliest time one was stored."""
    wanted = queries.conditions(InteractionRecord, principal.project_id, filters.model_dump())
    page = await queries.read_page(session, InteractionRecord, wanted, cursor=cursor, limit=limit)
    await cipher.unseal("rlhf_interaction_records", page.rows)
    items = [InteractionView.model_validate(row) for row in page.rows]
    return InteractionPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/interactions/{interaction_id:path}",
    responses=FIND_ERRORS,
    summary="Read one interaction",
)
async def get_interaction(
    interaction_id: str, principal: ReaderDep, session: SessionDep, cipher: CipherDep
) -> InteractionView:
    """The recorded prompt and response."""
    found = await queries.find_interaction(session, principal.project_id, interaction_id)
    await cipher.unseal("rlhf_interaction_records", [found])
    return InteractionView.model_validate(found)
