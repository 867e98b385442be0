"""DELETE /subjects: erasing a person; GET /erasures: the receipts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from services.feedback_api.deps import EraserDep, Limit, SessionDep, runtime
from services.feedback_api.erasure import (
    ErasurePolicy,
    Person,
    erase_person,
    find_erasure,
    list_erasures,
)
from services.feedback_api.routes.posting import FIND_ERRORS, READ_ERRORS
from services.feedback_api.views import ErasurePage, ErasureView, ReceiptKey
from shared.contracts.storable import MAX_NAME
from shared.contracts.values import PersonKind
from shared.errors import Overloaded
from shared.privacy import person_of
from shared.privacy.signing import ALGORITHM, public_key
from shared.web import problems

router = APIRouter(tags=["erasure"])

KindQuery = Annotated[
    PersonKind, Query(description="`rater`: who rated. `subject`: whom the texts are about.")
]
PersonId = Annotated[
    str, Path(min_length=1, max_length=MAX_NAME, description="The client's id, or a pseudonym.")
]


@router.delete(
    "/subjects/{person_id:path}",
    status_code=202,
    responses={200: {"model": ErasureView, "description": "Nothing is left; the last erasure"}}
    | FIND_ERRORS
    | problems(Overloaded),
    summary="Erase a person",
)
async def delete_subject(  # noqa: PLR0917 - FastAPI's parameters, one each
    person_id: PersonId,
    kind: KindQuery,
    request: Request,
    response: Response,
    principal: EraserDep,
    session: SessionDep,
) -> ErasureView:
    """What is stored of the person is gone from the database; the files follow at once.

    `GET /erasures/{id}` has the signed receipt as soon as they are rewritten.
    """
    running = runtime(request)
    pseudonym = person_of(running.secret, principal.project_id, kind, person_id)
    asked = await erase_person(
        session,
        Person(principal.project_id, kind, pseudonym),
        actor=principal.actor,
        policy=ErasurePolicy.of(running.settings),
    )
    response.status_code = 202 if asked.is_new else 200
    response.headers["Location"] = f"/erasures/{asked.erasure.id}"
    return ErasureView.model_validate(asked.erasure)


@router.get("/erasures", responses=READ_ERRORS, summary="List erasures, newest first")
async def get_erasures(
    principal: EraserDep,
    session: SessionDep,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Limit = 50,
) -> ErasurePage:
    """Erasures of people and of rows that were kept long enough."""
    found = await list_erasures(session, principal.project_id, limit + 1, cursor)
    page = found[:limit]
    return ErasurePage(
        items=[ErasureView.model_validate(erasure) for erasure in page],
        next_cursor=str(page[-1].id) if len(found) > limit else None,
    )


@router.get("/erasures/key", responses=READ_ERRORS, summary="The key that checks receipts")
async def get_receipt_key(request: Request, _: EraserDep) -> ReceiptKey:
    """Whoever has it can check a receipt without asking this deployment again."""
    return ReceiptKey(algorithm=ALGORITHM, public_key=public_key(runtime(request).secret))


@router.get("/erasures/{erasure_id}", responses=FIND_ERRORS, summary="Read one receipt")
async def get_erasure(erasure_id: UUID, principal: EraserDep, session: SessionDep) -> ErasureView:
    """The receipt, signed once the erasure is finished."""
    found = await find_erasure(session, principal.project_id, erasure_id)
    return ErasureView.model_validate(found)
