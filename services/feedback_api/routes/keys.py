"""API keys of the caller's project."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request

from services.feedback_api.deps import AdminDep, SessionDep, runtime
from services.feedback_api.routes.posting import FIND_ERRORS, READ_ERRORS
from services.feedback_api.schemas import KeyIn, KeyOut, NewKey
from shared.errors import Conflict
from shared.keys import create_key, list_keys, revoke_key, rotate_key
from shared.web import problems

router = APIRouter(tags=["keys"])
MAX_OVERLAP_S = 7 * 24 * 3600


@router.post("/keys", status_code=201, responses=READ_ERRORS, summary="Make a key")
async def post_key(body: KeyIn, principal: AdminDep, session: SessionDep) -> NewKey:
    """The token is in this reply and nowhere else."""
    token = await create_key(
        session,
        name=body.name,
        scopes=body.scopes,
        project_id=principal.project_id,
        expires_at=body.expires_at,
        made_by=principal.actor,
    )
    return _new_key(token)


@router.get("/keys", responses=READ_ERRORS, summary="List the keys of the project")
async def get_keys(principal: AdminDep, session: SessionDep) -> list[KeyOut]:
    """All keys, revoked ones too, newest first."""
    keys = await list_keys(session, project_id=principal.project_id)
    return [KeyOut.model_validate(key, from_attributes=True) for key in keys]


@router.delete("/keys/{public_id}", responses=FIND_ERRORS, summary="Revoke a key")
async def delete_key(
    public_id: str, principal: AdminDep, session: SessionDep, request: Request
) -> KeyOut:
    """The key is invalid at once, in every process."""
    key = await revoke_key(
        session, public_id, project_id=principal.project_id, revoked_by=principal.actor
    )
    runtime(request).keys.forget(public_id)
    return KeyOut.model_validate(key, from_attributes=True)


@router.post(
    "/keys/{public_id}/rotate",
    status_code=201,
    responses=FIND_ERRORS | problems(Conflict),
    summary="Replace a key",
)
async def post_rotation(
    public_id: str,
    principal: AdminDep,
    session: SessionDep,
    request: Request,
    overlap_s: Annotated[
        int, Query(ge=0, le=MAX_OVERLAP_S, description="Seconds the old key goes on.")
    ] = 0,
) -> NewKey:
    """A new key with the same name, scopes and expiry; the old one ends at once or soon."""
    token = await rotate_key(
        session,
        public_id,
        project_id=principal.project_id,
        overlap=timedelta(seconds=overlap_s),
        rotated_by=principal.actor,
    )
    runtime(request).keys.forget(public_id)
    return _new_key(token)


def _new_key(token: str) -> NewKey:
    return NewKey(public_id=token.split("_")[1], token=token)
