"""POST and GET /feedback."""

import json
from dataclasses import replace
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
from services.feedback_api.intake import Source, feedback_post
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
from services.feedback_api.schemas import BatchStored, FeedbackIn, FeedbackStored
from services.feedback_api.views import FeedbackPage, FeedbackView, FeedbackWithHistory
from shared.db.tables import Feedback
from shared.errors import InvalidInput

router = APIRouter(tags=["feedback"])

BODY: TypeAdapter[FeedbackIn] = TypeAdapter(FeedbackIn)
MAX_DIGITS = 10


class FeedbackFilters(BaseModel):
    session_id: str | None = None
    agent_name: str | None = None
    interaction_id: str | None = None
    task_type: str | None = None
    since: AwareDatetime | None = None


@router.post(
    "/feedback",
    status_code=201,
    response_model=FeedbackStored,
    responses=repeated(FeedbackStored) | POST_ERRORS,
    openapi_extra=body_description("FeedbackIn", examples.FEEDBACK, required=False),
    summary="Store one post of feedback",
)
async def post_feedback(request: Request, source: PageSourceDep) -> Response:
    """Store what a person thinks of a response. The reply leaves after the commit.

    Without a body, the query string carries session_id, agent_name, rating and comments.
    """
    source = _query_as_body(request, source)
    post = feedback_post(parse(BODY, source.raw_body), source)
    accepted = await runtime(request).accept(post)
    return stored_reply(accepted, location="/feedback")


async def post_directly(request: Request) -> Response:
    """The same, without the framework between."""
    return await post_feedback(request, await page_source(request))


def _query_as_body(request: Request, source: Source) -> Source:
    """The query string as a body, for clients that send the four fields there."""
    given = request.query_params
    if not given:
        return source
    if source.raw_body:
        raise InvalidInput("Send the fields in the body or in the query string, not in both.")
    if len(given) < len(given.multi_items()):
        raise InvalidInput("Each name may stand in the query string once.")
    fields: dict[str, str | int] = dict(given)
    if (stars := given.get("rating", "")).isdecimal() and len(stars) < MAX_DIGITS:
        fields["rating"] = int(stars)
    return replace(source, raw_body=json.dumps(fields).encode())


@router.post(
    "/feedback/batch",
    status_code=207,
    response_model=BatchStored,
    responses=POST_ERRORS,
    openapi_extra=batch_description("FeedbackIn"),
    summary="Store many posts, each on its own",
)
async def post_feedback_batch(request: Request, source: BatchSourceDep) -> Response:
    """207 with one status per item; an item that is refused takes no other with it."""
    return await store_batch(request, source, shape=BODY, to_post=feedback_post)


@router.get("/feedback", responses=READ_ERRORS, summary="Read live feedback, newest first")
async def list_feedback(
    principal: ReaderDep,
    session: SessionDep,
    cipher: CipherDep,
    *,
    filters: Annotated[FeedbackFilters, Query()],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> FeedbackPage:
    """One page of live rows; `since` is the earliest time a version was stored."""
    wanted = queries.conditions(Feedback, principal.project_id, filters.model_dump())
    page = await queries.read_page(session, Feedback, wanted, cursor=cursor, limit=limit)
    await cipher.unseal("rlhf_feedback", page.rows)
    items = [FeedbackView.model_validate(row) for row in page.rows]
    return FeedbackPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/feedback/{feedback_id:path}",
    responses=FIND_ERRORS,
    summary="Read one feedback with its history",
)
async def get_feedback(
    feedback_id: str, principal: ReaderDep, session: SessionDep, cipher: CipherDep
) -> FeedbackWithHistory:
    """The live row and up to 100 earlier versions, newest first."""
    live, earlier = await queries.find_feedback(session, principal.project_id, feedback_id)
    await cipher.unseal("rlhf_feedback", [live, *earlier])
    found = FeedbackWithHistory.model_validate(live)
    found.history = [FeedbackView.model_validate(row) for row in earlier]
    return found
