"""Whether the API can do its work."""

from fastapi import APIRouter, Request

from services.feedback_api.deps import runtime
from shared.db.faults import reaching_database
from shared.db.migrate import require_current
from shared.errors import DatabaseUnavailable, KeyMissing, SchemaOutdated
from shared.web import problems

router = APIRouter(tags=["health"])


@router.get(
    "/readyz",
    responses=problems(DatabaseUnavailable, SchemaOutdated, KeyMissing),
    summary="Whether posts can be stored now",
)
async def readyz(request: Request) -> dict[str, str]:
    """200 when Postgres has this code's schema and stored texts can be read, else 503 with why."""
    running = runtime(request)
    with reaching_database():
        await require_current(running.engine)
    await running.cipher.require_keys()
    return {"status": "ready", "database": "ok"}
