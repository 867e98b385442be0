"""Whether the API can do its work."""

from fastapi import APIRouter, Request

from services.feedback_api.deps import runtime
from shared.db.faults import reaching_database
from shared.db.migrate import require_current
from shared.errors import DatabaseUnavailable, SchemaOutdated
from shared.web import problems

router = APIRouter(tags=["health"])


@router.get(
    "/readyz",
    responses=problems(DatabaseUnavailable, SchemaOutdated),
    summary="Whether posts can be stored now",
)
async def readyz(request: Request) -> dict[str, str]:
    """200 when Postgres answers and has this code's schema, else 503 with the reason."""
    with reaching_database():
        await require_current(runtime(request).engine)
    return {"status": "ready", "database": "ok"}
