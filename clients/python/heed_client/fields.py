"""The fields a post may have, typed. Names are the canonical ones of the API."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypedDict

from pydantic import BaseModel, ConfigDict

Thumb = Literal["up", "down"]
Preferred = Literal["a", "b", "tie", "both_bad"]
Json = Any


class Common(TypedDict, total=False):
    """What feedback and comparisons have in common."""

    session_id: str
    agent_name: str
    rater_id: str | int
    occurred_at: datetime
    task_type: str
    context: Mapping[str, Json]
    consent: Mapping[str, Json]
    subject_ids: Sequence[str | int]
    decision_id: str


class About(Common, total=False):
    """What the feedback is about, and circumstances: everything but the judgement itself."""

    feedback_id: str
    interaction_id: str | int
    prompt: str
    response: str | Mapping[str, Json] | Sequence[Json]
    model_version: str
    step_id: str | int
    step: Mapping[str, Json]


class FeedbackFields(About, total=False):
    """Everything a post of feedback may hold."""

    rating: int
    human_rating: float
    thumbs: Thumb
    feedback_type: Literal["positive", "negative", "neutral"]
    comment: str
    correction: "str | Mapping[str, Json] | Correction"
    annotations: "Sequence[Span | Mapping[str, Json]]"
    aspects: Mapping[str, float]
    implicit: Mapping[str, Json] | Sequence[Mapping[str, Json]]


class ComparisonFields(Common, total=False):
    """What a comparison may hold beside the responses."""

    preference_id: str
    comment: str
    strength: float
    presented_order: Sequence[str | int]
    reasons: Sequence[str]


class InteractionFields(TypedDict, total=False):
    """What a recorded interaction may hold beside prompt and response."""

    interaction_id: str
    session_id: str
    agent_name: str
    model_version: str
    decision_id: str
    context: Mapping[str, Json]
    consent: Mapping[str, Json]
    subject_ids: Sequence[str | int]
    occurred_at: datetime


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
