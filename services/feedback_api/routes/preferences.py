"""POST and GET /preference."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, TypeAdapter

from services.feedback_api import examples, queries
from services.feedback_api.deps import (
    BatchSourceDep,
    CipherDep,
    Cursor,
    Limit,
    PageSourceDep,
    ReaderDep,
    SessionDep,
    page_source,
    parse,
    runtime,
)
from services.feedback_api.intake import preference_post
from services.feedback_api.routes.posting import (
    FIND_ERRORS,
    POST_ERRORS,
    READ_ERRORS,
    batch_description,
    body_description,
    repeated,
    store_batch,
    stored_reply,
)
from services.feedback_api.schemas import BatchStored, PreferenceIn, PreferenceStored
from services.feedback_api.views import PreferencePage, PreferenceView, PreferenceWithHistory
from shared.db.tables import Preference

router = APIRouter(tags=["preferences"])

BODY: TypeAdapter[PreferenceIn] = TypeAdapter(PreferenceIn)


class PreferenceFilters(BaseModel):
    session_id: str | None = None
    agent_name: str | None = None
    task_type: str | None = None
    since: AwareDatetime | None = None


@router.post(
    "/preference",
    status_code=201,
    response_model=PreferenceStored,
    responses=repeated(PreferenceStored) | POST_ERRORS,
    openapi_extra=body_description("PreferenceIn", examples.PREFERENCE),
    summary="Store one comparison",
)
async def post_preference(request: Request, source: PageSourceDep) -> Response:
    """Store which of several responses a person prefers, a tie, or that all are bad."""
    body = parse(BODY, source.raw_body)
    accepted = await runtime(request).accept(preference_post(body, source))
    return stored_reply(accepted, location="/preference")


async def post_directly(request: Request) -> Response:
    """The same, without the framework between."""
    return await post_preference(request, await page_source(request))


@router.post(
    "/preference/batch",
    status_code=207,
    response_model=BatchStored,
    responses=POST_ERRORS,
    openapi_extra=batch_description("PreferenceIn"),
    summary="Store many comparisons, each on its own",
)
async def post_preference_batch(request: Request, source: BatchSourceDep) -> Response:
    """207 with one status per item; an item that is refused takes no other with it."""
    return await store_batch(request, source, shape=BODY, to_post=preference_post)


@router.get("/preference", responses=READ_ERRORS, summary="Read live comparisons, newest first")
async def list_preferences(
    principal: ReaderDep,
    session: SessionDep,
    cipher: CipherDep,
    *,
    filters: Annotated[PreferenceFilters, Query()],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PreferencePage:
    """One page of live rows; `since` is the earliest time a version was stored."""
    wanted = queries.conditions(Preference, principal.project_id, filters.model_dump())
    page = await queries.read_page(session, Preference, wanted, cursor=cursor, limit=limit)
    await cipher.unseal("rlhf_preferences", page.rows)
    items = [PreferenceView.model_validate(row) for row in page.rows]
    return PreferencePage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/preference/{preference_id:path}",
    responses=FIND_ERRORS,
    summary="Read one comparison with its history",
)
async def get_preference(
    preference_id: str, principal: ReaderDep, session: SessionDep, cipher: CipherDep
) -> PreferenceWithHistory:
    """The live row and up to 100 earlier versions, newest first."""
    live, earlier = await queries.find_preference(session, principal.project_id, preference_id)
    await cipher.unseal("rlhf_preferences", [live, *earlier])
    found = PreferenceWithHistory.model_validate(live)
    found.history = [PreferenceView.model_validate(row) for row in earlier]
    return found
