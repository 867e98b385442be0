"""POST and GET /review/queue."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.feedback_api import review_queue
from services.feedback_api.deps import CipherDep, Cursor, Limit, ReviewerDep, SessionDep
from services.feedback_api.review_queue import Asking
from services.feedback_api.routes.posting import READ_ERRORS
from services.feedback_api.views import InteractionView
from shared.contracts.review import QueueRequest, Reason
from shared.contracts.values import RunStatus
from shared.db.audit import audit
from shared.errors import Conflict, MalformedBody, TooLarge
from shared.web import problems

router = APIRouter(tags=["review"])


class ReviewItem(InteractionView):
    """A recorded response that people should judge next, and why."""

    place: int = Field(description="In the queue as it was made, from 1.")
    reason: Reason = Field(
        description="`audit`: drawn at random; `unsure`: the model has seen little like it; "
        "`undecided`: it finds it neither good nor bad; `coverage`: unlike the others."
    )
    is_audit: bool
    slice: str | None = Field(description="What the queue is balanced over.")
    probability: float | None = Field(description="The model's, that the response is good.")
    uncertainty: float | None = Field(description="Standard deviation of its reward.")
    out_of_domain: bool | None

    @classmethod
    def of(cls, one: Asking) -> "ReviewItem":
        """The response with what the queue says of it."""
        known = InteractionView.model_validate(one.record).model_dump()
        said = one.question.model_dump(exclude={"id"})
        is_audit = one.question.reason == "audit"
        return cls.model_construct(
            **known, **said, place=one.place, slice=one.slice, is_audit=is_audit
        )


class ReviewPage(BaseModel):
    """Some of the queue. What was judged or withdrawn since it was made is left out."""

    state: RunStatus | Literal["none"] = Field(
        description="Of the newest queue that was asked for; `succeeded`: this is it."
    )
    error: str | None = Field(description="Why that one could not be made.")
    made_at: datetime | None = Field(description="When this queue was made; null before the first.")
    model: str | None = Field(description="Whose doubt it is; null without a model.")
    unjudged: int | None = Field(description="How many responses there were to choose from.")
    items: list[ReviewItem]
    next_cursor: str | None


class QueueAsked(BaseModel):
    """The job that makes the queue."""

    id: UUID


@router.post(
    "/review/queue",
    status_code=202,
    responses=READ_ERRORS | problems(MalformedBody, Conflict, TooLarge),
    summary="Have a review queue made",
)
async def post_queue(body: QueueRequest, principal: ReviewerDep, session: SessionDep) -> QueueAsked:
    """A worker makes it, in seconds to minutes; `GET /review/queue` then gives it."""
    job = await review_queue.ask(
        session, body, project_id=principal.project_id, actor=principal.actor
    )
    return QueueAsked(id=job)


@router.get("/review/queue", responses=READ_ERRORS, summary="Read what people should judge next")
async def get_queue(
    principal: ReviewerDep,
    session: SessionDep,
    cipher: CipherDep,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> ReviewPage:
    """One page of the newest queue, in its order: the random share, then what teaches most."""
    found = await review_queue.read(
        session, cipher, principal.project_id, cursor=cursor, limit=limit
    )
    rows = [str(one.record.id) for one in found.page]
    if rows:
        audit(
            session,
            "rows.read",
            actor=principal.actor,
            target="/review/queue",
            project_id=principal.project_id,
            detail={"count": len(rows), "rows": rows},
        )
    return ReviewPage(
        state=found.state or "none",
        error=found.error,
        made_at=found.made_at,
        model=found.made.model if found.made else None,
        unjudged=found.made.unjudged if found.made else None,
        items=[ReviewItem.of(one) for one in found.page],
        next_cursor=found.next_cursor,
    )
