"""GET /stats/feedback."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from services.feedback_api.deps import ReaderDep, SessionDep
from services.feedback_api.judgements import FeedbackStatistics, read_statistics
from services.feedback_api.routes.posting import READ_ERRORS

router = APIRouter(tags=["statistics"])


@router.get("/stats/feedback", responses=READ_ERRORS, summary="How people judge the responses")
async def get_statistics(
    principal: ReaderDep,
    session: SessionDep,
    days: Annotated[int, Query(ge=1, le=3650, description="How far back, in days.")] = 90,
) -> FeedbackStatistics:
    """Averages, trends and directions per task and agent, ratings by value, volume per day."""
    since = datetime.now(UTC) - timedelta(days=days)
    return await read_statistics(session, principal.project_id, since)
