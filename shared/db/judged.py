"""Whether somebody judged a recorded response: one answer for the queue and for its pages."""

from sqlalchemy import ColumnElement, or_, select
from sqlmodel import col

from shared.db.tables import Feedback, InteractionRecord


def is_judged(project_id: int) -> ColumnElement[bool]:
    """Whether an interaction's whole response was rated, corrected, or given a thumb."""
    said = or_(
        col(Feedback.rating).is_not(None),
        col(Feedback.human_rating).is_not(None),
        col(Feedback.thumbs).is_not(None),
        col(Feedback.corrected_response).is_not(None),
    )
    return (
        select(col(Feedback.id))
        .where(
            col(Feedback.project_id) == project_id,
            col(Feedback.interaction_id) == col(InteractionRecord.interaction_id),
            col(Feedback.step) == "",
            said,
        )
        .exists()
    )
