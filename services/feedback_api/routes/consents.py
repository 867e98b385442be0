"""POST and GET /consents: consent given or withdrawn by a person, per purpose."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request

from services.feedback_api.consents import read_consents, record_consent
from services.feedback_api.deps import PlainReaderDep, SessionDep, WriterDep, runtime
from services.feedback_api.routes.posting import READ_ERRORS
from services.feedback_api.schemas import PersonConsentIn
from services.feedback_api.views import ConsentView, PersonConsents
from shared.contracts.storable import MAX_NAME
from shared.contracts.values import PersonKind
from shared.db.audit import audit
from shared.db.tables import Consent
from shared.privacy import person_of

router = APIRouter(tags=["consents"])


@router.post(
    "/consents", status_code=201, responses=READ_ERRORS, summary="Record a person's consent"
)
async def post_consent(
    body: PersonConsentIn, request: Request, principal: WriterDep, session: SessionDep
) -> PersonConsents:
    """What a person allows from now on, such as `{"training": false}` to withdraw training."""
    secret = runtime(request).secret
    person = person_of(secret, principal.project_id, body.kind, body.person_id)
    words = await record_consent(
        session,
        project_id=principal.project_id,
        kind=body.kind,
        person=person,
        said=body.consent,
        actor=principal.actor,
    )
    return _consents(body.kind, person, words)


@router.get("/consents", responses=READ_ERRORS, summary="Read what a person consented to")
async def get_consents(
    request: Request,
    principal: PlainReaderDep,
    session: SessionDep,
    kind: PersonKind,
    person_id: Annotated[
        str, Query(min_length=1, max_length=MAX_NAME, description="The client's id or a pseudonym.")
    ],
) -> PersonConsents:
    """The person's words, newest first; none when nothing was ever recorded."""
    person = person_of(runtime(request).secret, principal.project_id, kind, person_id)
    audit(  # by the pseudonym: the query string holds the person's own id
        session,
        "consent.read",
        actor=principal.actor,
        target=f"{kind}:{person}",
        project_id=principal.project_id,
    )
    words = await read_consents(session, principal.project_id, kind, person)
    return _consents(kind, person, words)


def _consents(kind: PersonKind, person: str, words: Sequence[Consent]) -> PersonConsents:
    return PersonConsents(
        kind=kind, person=person, words=[ConsentView.model_validate(word) for word in words]
    )
