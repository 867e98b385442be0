"""The fields a post may have, typed, under the canonical names of the API. None is not sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypedDict

from pydantic import BaseModel, ConfigDict

Thumb = Literal["up", "down"]
Preferred = Literal["a", "b", "tie", "both_bad"]
Json = Any


class Common(TypedDict, total=False):
    """What feedback and comparisons have in common."""

    session_id: str | None
    agent_name: str | None
    rater_id: str | int | None
    comment: str | None
    occurred_at: datetime | None
    task_type: str | None
    context: Mapping[str, Json] | None
    consent: Mapping[str, Json] | None
    subject_ids: Sequence[str | int] | None
    decision_id: str | None


class About(Common, total=False):
    """What the feedback is about, and circumstances: everything but the judgement itself."""

    feedback_id: str | None
    interaction_id: str | int | None
    prompt: str | None
    response: str | Mapping[str, Json] | Sequence[Json] | None
    model_version: str | None
    step_id: str | int | None
    step: Mapping[str, Json] | None


class FeedbackFields(About, total=False):
    """Everything a post of feedback may hold."""

    rating: int | None
    human_rating: float | None
    thumbs: Thumb | None
    feedback_type: Literal["positive", "negative", "neutral"] | None
    correction: "str | Mapping[str, Json] | Correction | None"
    annotations: "Sequence[Span | Mapping[str, Json]] | None"
    aspects: Mapping[str, float] | None
    implicit: Mapping[str, Json] | Sequence[Mapping[str, Json]] | None


class ComparisonFields(Common, total=False):
    """What a comparison may hold beside the responses."""

    preference_id: str | None
    strength: float | None
    presented_order: Sequence[str | int] | None
    reasons: Sequence[str] | None


class InteractionFields(TypedDict, total=False):
    """What a recorded interaction may hold beside prompt and response."""

    interaction_id: str | None
    session_id: str | None
    agent_name: str | None
    model_version: str | None
    decision_id: str | None
    context: Mapping[str, Json] | None
    consent: Mapping[str, Json] | None
    subject_ids: Sequence[str | int] | None
    occurred_at: datetime | None


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(_Sent):
    """A remark on part of the response: code points from `start` up to but without `end`."""

    start: int
    end: int
    label: str | None = None
    comment: str | None = None


class Candidate(_Sent):
    """One of several responses that were ranked."""

    id: str
    text: str
    model_version: str | None = None


class Correction(_Sent):
    """What would have been right; each kind of task has its own fields."""

    task_type: ClassVar[str | None] = None


class TextCorrection(Correction):
    """Fits any task whose response is text, so it names none."""

    corrected_response: str


class TracingCorrection(Correction):
    task_type = "tracing"

    missing_segments: Sequence[Json] | None = None
    incorrect_segments: Sequence[Json] | None = None
    notes: str | None = None


class ProofreadingCorrection(Correction):
    task_type = "proofreading"

    missed_errors: Sequence[Json] | None = None
    false_positives: Sequence[Json] | None = None
    better_corrections: Json = None


class RagCorrection(Correction):
    task_type = "rag"

    improvements: Json = None
    missing_info: Json = None
    corrected_response: str | None = None
