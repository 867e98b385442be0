"""The shapes of what clients read back."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.values import ErasureKind, FeedbackType, Outcome, PersonKind, Thumb


class RowView(BaseModel):
    """A stored row, under the canonical names; a text whose key was destroyed is null."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The id of this version.")
    session_id: str | None
    agent_name: str | None
    context: dict[str, Any]
    decision_id: str | None
    consent: dict[str, Any]
    consent_training: bool
    occurred_at: datetime = Field(validation_alias="timestamp")
    created_at: datetime


class PostView(RowView):
    task_type: str | None
    comment: str | None = Field(validation_alias="comments")
    rater: str | None = Field(validation_alias="clinician_id", description="A pseudonym.")
    processed: bool


class FeedbackView(PostView):
    feedback_id: str
    interaction_id: str | None
    step_id: str | None
    step_order: int | None
    step_content: str | None
    prompt: str | None = Field(validation_alias="user_query")
    response: str | None = Field(validation_alias="agent_response")
    structured_response: Any
    rating: int | None
    human_rating: float | None
    thumbs: Thumb | None
    feedback_type: FeedbackType | None
    correction: dict[str, Any] | None
    corrected_response: str | None
    annotations: list[Any] | None
    aspects: dict[str, float] | None
    implicit: list[Any] | None
    model_version: str | None
    pending: bool


class PreferenceView(PostView):
    preference_id: str
    prompt: str | None
    response_a: str | None
    response_b: str | None
    preferred: str | None
    outcome: Outcome
    candidates: list[Any] | None
    ranking: list[Any] | None
    strength: float | None
    presented_order: list[Any] | None
    reasons: list[Any] | None


class InteractionView(RowView):
    interaction_id: str
    prompt: str | None = Field(validation_alias="user_prompt")
    response: str | None = Field(validation_alias="ai_response")
    structured_response: Any
    model_version: str | None


class StepView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    interaction_id: str = Field(validation_alias="chat_id")
    step_order: int
    step_content: str
    created_at: datetime


class ConsentView(BaseModel):
    """One word: from `created_at` until the next one on the same purpose."""

    model_config = ConfigDict(from_attributes=True)

    purpose: str
    granted: bool
    created_at: datetime


class PersonConsents(BaseModel):
    """What a person said, newest first."""

    kind: PersonKind
    person: str = Field(description="A pseudonym.")
    words: list[ConsentView]


class AuditView(BaseModel):
    """Who did what to what."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    created_at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]


class AuditPage(BaseModel):
    items: list[AuditView]
    next_cursor: str | None


class FeedbackWithHistory(FeedbackView):
    """The live row and the versions it superseded, newest first."""

    history: list[FeedbackView] = []


class PreferenceWithHistory(PreferenceView):
    """The live row and the versions it superseded, newest first."""

    history: list[PreferenceView] = []


class FeedbackPage(BaseModel):
    items: list[FeedbackView]
    next_cursor: str | None


class PreferencePage(BaseModel):
    items: list[PreferenceView]
    next_cursor: str | None


class InteractionPage(BaseModel):
    items: list[InteractionView]
    next_cursor: str | None


class ErasureView(BaseModel):
    """One erasure and its receipt."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: ErasureKind
    person: str = Field(description="The pseudonym; of `retention`, the table.")
    created_at: datetime
    finished_at: datetime | None = Field(description="Null while files are being rewritten.")
    receipt: dict[str, Any] = Field(description="Signed once the erasure is finished.")


class ErasurePage(BaseModel):
    """Some erasures, newest first."""

    items: list[ErasureView]
    next_cursor: str | None


class ReceiptKey(BaseModel):
    """What checks the signatures of this deployment's receipts."""

    algorithm: str
    public_key: str = Field(description="32 bytes in base64.")


class LineageView(BaseModel):
    """Where a dataset, model or erasure comes from, what came of it, and what taints it."""

    model_config = ConfigDict(from_attributes=True)

    node: str
    ancestors: list[str]
    descendants: list[str]
    is_tainted: bool
    tainted_by: list[UUID] = Field(description="The erasures whose rows it still holds.")
