"""What calls return. Fields that a newer service adds are kept as extra attributes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from heed_client.errors import Problem

Row = TypeVar("Row")
State = Literal["live", "superseded", "pending", "queued", "dropped"]


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Stored(Result):
    """What became of one post.

    `state` is `live`; `superseded` (a later post on the same target is live); `pending` (waits
    for the interaction it is about); with an outbox `queued` (on disk, sent later) or `dropped`
    (the outbox refused it and told `on_drop`). `id` is None until the service has replied.
    """

    id: str | None = None
    state: State


class FeedbackStored(Stored):
    feedback_id: str


class PreferenceStored(Stored):
    preference_id: str


class InteractionStored(Stored):
    interaction_id: str


class StepsStored(Result):
    """The ids of the steps, in the order given; `state` as in `Stored`."""

    ids: list[str]
    state: State = "live"


class BatchItem(Result):
    """What became of one item: an id, or the problem."""

    status: int
    id: str | None = None
    feedback_id: str | None = None
    preference_id: str | None = None
    state: State | None = None
    problem: Problem | None = None


class BatchStored(Result):
    """One result per item, in order."""

    items: list[BatchItem]

    @property
    def problems(self) -> list[Problem]:
        """The refusals among them."""
        return [item.problem for item in self.items if item.problem is not None]


class Page(Result, Generic[Row]):
    """Some rows, and where the next ones begin."""

    items: Sequence[Row]
    next_cursor: str | None = None


class StoredRow(Result):
    """What every stored row has."""

    id: str
    session_id: str | None = None
    agent_name: str | None = None
    context: dict[str, Any] = {}
    decision_id: str | None = None
    consent: dict[str, Any] = {}
    consent_training: bool
    occurred_at: datetime
    created_at: datetime


class JudgedRow(StoredRow):
    """What a person said; `rater` is a pseudonym."""

    task_type: str | None = None
    comment: str | None = None
    rater: str | None = None
    processed: bool = False


class FeedbackRow(JudgedRow):
    """One stored feedback; read by its id, `history` holds up to 100 earlier versions."""

    feedback_id: str
    interaction_id: str | None = None
    step_id: str | None = None
    step_order: int | None = None
    step_content: str | None = None
    prompt: str | None = None
    response: str | None = None
    structured_response: Any = None
    rating: int | None = None
    human_rating: float | None = None
    thumbs: str | None = None
    feedback_type: str | None = None
    correction: dict[str, Any] | None = None
    corrected_response: str | None = None
    annotations: list[Any] | None = None
    aspects: dict[str, float] | None = None
    implicit: list[Any] | None = None
    model_version: str | None = None
    pending: bool = False
    history: list["FeedbackRow"] = []


class PreferenceRow(JudgedRow):
    """One stored comparison."""

    preference_id: str
    prompt: str | None = None
    response_a: str | None = None
    response_b: str | None = None
    preferred: str | None = None
    outcome: str | None = None
    candidates: list[Any] | None = None
    ranking: list[Any] | None = None
    strength: float | None = None
    presented_order: list[Any] | None = None
    reasons: list[Any] | None = None
    history: list["PreferenceRow"] = []


class InteractionRow(StoredRow):
    """One recorded exchange."""

    interaction_id: str
    prompt: str | None = None
    response: str | None = None
    structured_response: Any = None
    model_version: str | None = None


class StepRow(Result):
    """One recorded reasoning step."""

    id: str
    interaction_id: str
    step_order: int
    step_content: str | None = None
    created_at: datetime
