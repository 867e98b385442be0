"""POST and GET the reasoning steps of an interaction."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field, TypeAdapter

from services.feedback_api import examples, queries
from services.feedback_api.deps import CipherDep, ReaderDep, SessionDep, SourceDep, parse, runtime
from services.feedback_api.intake import step_post
from services.feedback_api.routes.posting import (
    FIND_ERRORS,
    RECORD_ERRORS,
    body_description,
    repeated,
)
from services.feedback_api.schemas import ReasoningStepIn, StepsStored
from services.feedback_api.views import StepView
from shared.contracts.storable import MAX_NAME
from shared.db.tables import ReasoningStep
from shared.errors import InvalidInput

router = APIRouter(tags=["reasoning steps"])

Steps = Annotated[list[ReasoningStepIn], Field(min_length=1, max_length=1000)]
BODY: TypeAdapter[ReasoningStepIn | Steps] = TypeAdapter(ReasoningStepIn | Steps)


@router.post(
    "/interactions/{interaction_id:path}/steps",
    status_code=201,
    responses=repeated(StepsStored) | RECORD_ERRORS,
    openapi_extra=body_description("ReasoningStepIn", examples.STEPS),
    summary="Record the reasoning steps of an interaction",
)
async def post_steps(
    interaction_id: str,
    source: SourceDep,
    session: SessionDep,
    request: Request,
    response: Response,
) -> StepsStored:
    """Record one step or a list of them; the interaction itself may come later."""
    if not 1 <= len(interaction_id) <= MAX_NAME or "\x00" in interaction_id:
        raise InvalidInput(f"An interaction id has 1 to {MAX_NAME} characters.")
    body = parse(BODY, source.raw_body)
    running = runtime(request)
    posts = await asyncio.gather(
        *(
            running.admit(step_post(step, interaction_id, source))
            for step in (body if isinstance(body, list) else [body])
        )
    )
    steps = [ReasoningStep(**post.row) for post in posts]
    is_new = await queries.add_steps(session, steps, running.cipher)
    response.status_code = 201 if is_new else 200
    return StepsStored(ids=[step.id for step in steps])


@router.get(
    "/interactions/{interaction_id:path}/steps",
    responses=FIND_ERRORS,
    summary="Read the reasoning steps of an interaction",
)
async def get_steps(
    interaction_id: str, principal: ReaderDep, session: SessionDep, cipher: CipherDep
) -> list[StepView]:
    """The steps in their order; none when nothing was recorded."""
    rows = await queries.read_steps(session, principal.project_id, interaction_id)
    await cipher.unseal("reasoning_steps", rows)
    return [StepView.model_validate(row) for row in rows]
