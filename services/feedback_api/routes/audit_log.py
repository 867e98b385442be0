"""GET /audit."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from services.feedback_api import queries
from services.feedback_api.deps import AdminDep, Cursor, Limit, SessionDep
from services.feedback_api.routes.posting import READ_ERRORS
from services.feedback_api.views import AuditPage, AuditView
from shared.db.tables import AuditEntry

router = APIRouter(tags=["audit"])


class AuditFilters(BaseModel):
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: AwareDatetime | None = None


@router.get("/audit", responses=READ_ERRORS, summary="Read the audit log, newest first")
async def get_audit(
    principal: AdminDep,
    session: SessionDep,
    filters: Annotated[AuditFilters, Query()],
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditPage:
    """Who read, exported, erased and promoted what; entries are never changed."""
    wanted = queries.conditions(AuditEntry, principal.project_id, filters.model_dump())
    page = await queries.read_page(session, AuditEntry, wanted, cursor=cursor, limit=limit)
    items = [AuditView.model_validate(row) for row in page.rows]
    return AuditPage(items=items, next_cursor=page.next_cursor)
