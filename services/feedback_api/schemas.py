"""The shapes of what clients send, with every name their bodies already use.

Inference is by field name and never by value. An unknown field is refused by name, because
keeping it nowhere would lose it silently; anything free goes into `context`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.contracts.storable import (
    Moment,
    Name,
    StorableJson,
    StorableList,
    StorableObject,
    StorableText,
)
from shared.contracts.values import FeedbackType, PersonKind, Thumb
from shared.web import Problem


def _whole_stars(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise PydanticCustomError(
            "rating_not_stars",
            "Stars are whole numbers from 1 to 5; a number from 0 to 1 belongs in human_rating",
        )
    return value


def _short(value: object) -> object:
    """Identities may be numbers or text; anything else would make two people one."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("identity_type", "Send an integer or text")
    return str(value)


def _also(*names: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(*names))


Stars = Annotated[int, BeforeValidator(_whole_stars), Field(ge=1, le=5)]
Share = Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)]
AspectScore = Annotated[float, Field(ge=0, le=5, strict=True, allow_inf_nan=False)]
Identity = Annotated[Name, BeforeValidator(_short)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class ConsentIn(BaseModel):
    """What the post may be used for; other purposes are kept as they are."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, StorableJson]

    training: Annotated[bool, Field(strict=True)] | None = None


class StepIn(Body):
    """The reasoning step that is meant: by its id, or by its order and content."""

    step_id: Identity | None = None
    step_order: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] | None = None
    step_content: StorableText | None = None


class AnnotationIn(Body):
    """A remark on part of the response, in Unicode code points of the response as sent."""

    start: Annotated[int, Field(ge=0, strict=True)]
    end: Annotated[int, Field(ge=1, strict=True)]
    label: Name | None = None
    comment: StorableText | None = None


class ImplicitIn(Body):
    """Something the person did instead of saying it, such as `copied` or `regenerated`."""

    event: Name
    weight: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False, strict=True)] | None = None


class PostIn(Body):
    """What feedback and preferences have in common."""

    session_id: Name | None = None
    agent_name: Name | None = None
    rater_id: Identity | None = _also("rater_id", "clinician_id", "user_id", "expert")
    occurred_at: Moment | None = _also("occurred_at", "timestamp")
    comment: StorableText | None = _also("comment", "comments", "feedback_comment")
    task_type: Name | None = None
    context: StorableObject = Field(default_factory=dict)
    consent: ConsentIn | None = None
    subject_ids: list[Identity] = Field(default_factory=list, max_length=100)
    decision_id: Name | None = None


class FeedbackIn(PostIn):
    """One post of feedback. Each field may also come under the names clients use for it."""

    feedback_id: Name | None = None
    interaction_id: Identity | None = _also("interaction_id", "task_id", "chat_id")
    prompt: StorableText | None = _also("prompt", "user_query", "query", "user_prompt")
    response: StorableText | StorableObject | StorableList | None = _also(
        "response", "agent_response", "ai_response"
    )
    model_tracing: StorableText | StorableObject | StorableList | None = None
    model_proofreading: StorableText | StorableObject | StorableList | None = None
    rag_response: StorableText | StorableObject | StorableList | None = None
    model_version: Name | None = None
    step: StepIn | None = None
    step_id: Identity | None = None
    rating: Stars | None = _also("rating", "feedback_score")
    human_rating: Share | None = None
    thumbs: Thumb | None = None
    feedback_type: FeedbackType | None = None
    correction: StorableText | StorableObject | None = _also("correction", "human_correction")
    annotations: list[AnnotationIn] | None = Field(None, min_length=1, max_length=1000)
    aspects: dict[Name, AspectScore] | None = None
    implicit: ImplicitIn | list[ImplicitIn] | None = None


class CandidateIn(Body):
    """One of several responses that were ranked."""

    id: Identity
    text: StorableText
    model_version: Name | None = None


class PreferenceIn(PostIn):
    """One comparison: two responses and the preferred one, or candidates and their ranking."""

    preference_id: Name | None = None
    prompt: StorableText = Field(
        validation_alias=AliasChoices("prompt", "user_query", "query", "user_prompt")
    )
    response_a: StorableText | None = None
    response_b: StorableText | None = None
    preferred: Literal["a", "b", "tie", "both_bad"] | None = _also("preferred", "outcome")
    candidates: list[CandidateIn] | None = Field(None, min_length=2, max_length=64)
    ranking: list[Identity] | None = Field(None, min_length=2, max_length=64)
    strength: Annotated[float, Field(ge=0, le=3, allow_inf_nan=False, strict=True)] | None = None
    presented_order: list[Identity] | None = Field(None, min_length=2, max_length=64)
    reasons: list[StorableText] | None = Field(None, min_length=1, max_length=32)


class InteractionIn(Body):
    """A prompt and the response that was given, recorded so that feedback can point at it."""

    interaction_id: Identity | None = _also("interaction_id", "task_id", "chat_id")
    session_id: Name | None = None
    agent_name: Name | None = None
    prompt: StorableText = Field(
        validation_alias=AliasChoices("prompt", "user_prompt", "user_query", "query")
    )
    response: StorableText | StorableObject | StorableList = Field(
        validation_alias=AliasChoices("response", "ai_response", "agent_response", "rag_response")
    )
    model_version: Name | None = None
    decision_id: Name | None = None
    context: StorableObject = Field(default_factory=dict)
    consent: ConsentIn | None = None
    subject_ids: list[Identity] = Field(default_factory=list, max_length=100)
    occurred_at: Moment | None = _also("occurred_at", "timestamp")


class ReasoningStepIn(Body):
    """One step of the reasoning behind a response."""

    id: Identity | None = _also("id", "step_id")
    step_order: Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
    step_content: StorableText


class PersonConsentIn(Body):
    """What one person allows from now on, purpose by purpose."""

    kind: PersonKind
    person_id: Identity = Field(description="The client's own id of the person, or a pseudonym.")
    consent: dict[Name, Annotated[bool, Field(strict=True)]] = Field(
        min_length=1, max_length=32, examples=[{"training": False}]
    )


class KeyIn(Body):
    """A key to make: its scopes, and when it stops being valid."""

    name: Name
    scopes: list[str] = Field(min_length=1, max_length=16, examples=[["feedback:write"]])
    expires_at: Moment | None = None


class WidgetKind(StrEnum):
    """What a page may say with a widget token; the names are those of the fields."""

    THUMBS = "thumbs"
    RATING = "rating"
    HUMAN_RATING = "human_rating"
    COMMENT = "comment"
    CORRECTION = "correction"
    ANNOTATIONS = "annotations"
    ASPECTS = "aspects"
    IMPLICIT = "implicit"
    PREFERENCE = "preference"


class TokenStepIn(Body):
    """A recorded reasoning step; its text stays where it is recorded."""

    step_id: Identity | None = None
    step_order: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] | None = None


class CompareIn(Body):
    """The two responses that a page lets a person choose from."""

    prompt: StorableText
    response_a: StorableText
    response_b: StorableText


class WidgetTokenIn(Body):
    """One target, who speaks, what may be said, from where and for how long.

    The target is an `interaction_id`, or a `prompt` and its `response`, which are recorded as an
    interaction, or two responses to `compare`.
    """

    interaction_id: Identity | None = None
    prompt: StorableText | None = None
    response: StorableText | StorableObject | StorableList | None = None
    compare: CompareIn | None = None
    session_id: Name | None = None
    agent_name: Name | None = None
    model_version: Name | None = None
    decision_id: Name | None = None
    subject_ids: list[Identity] = Field(default_factory=list, max_length=100)
    step: TokenStepIn | None = None
    rater_id: Identity | None = None
    kinds: list[WidgetKind] = Field(min_length=1, max_length=16, examples=[["thumbs", "comment"]])
    origin: Name = Field(examples=["https://app.example.com"])
    expires_in_s: Annotated[int, Field(ge=10, le=900, strict=True)] = 900
    consent: ConsentIn | None = None


class WidgetToken(BaseModel):
    """A token for one page, and the interaction it is about."""

    token: str
    expires_at: datetime
    interaction_id: str | None = None


class Stored(BaseModel):
    """The reply to an accepted post; it leaves only after the commit."""

    id: str = Field(description="The id of this version, a UUIDv7.")
    state: Literal["live", "superseded", "pending"] = Field(
        description="`superseded`: a later post on the same target is live, this one is kept in "
        "the history; `pending`: waits for the interaction it is about."
    )


class FeedbackStored(Stored):
    feedback_id: str


class PreferenceStored(Stored):
    preference_id: str


class InteractionStored(Stored):
    interaction_id: str


class BatchItem(BaseModel):
    """What became of one item: a status with its ids, or with a problem."""

    status: int
    id: str | None = None
    feedback_id: str | None = None
    preference_id: str | None = None
    state: Literal["live", "superseded", "pending"] | None = None
    problem: Problem | None = None


class BatchStored(BaseModel):
    """One result per item, in order."""

    items: list[BatchItem]


class StepsStored(BaseModel):
    """The ids of the steps, in the order sent."""

    ids: list[str]


class NewKey(BaseModel):
    """A new key; the token is shown this once."""

    public_id: str
    token: str


class KeyOut(BaseModel):
    """A stored key, without its secret."""

    public_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
