"""The shapes of webhooks and deliveries over HTTP."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.feedback_api.webhooks.deliveries import message_id
from services.feedback_api.webhooks.subscriptions import MAX_URL
from shared.contracts.storable import Moment, StorableText
from shared.contracts.values import Event
from shared.db.tables import Job, Webhook


class WebhookIn(BaseModel):
    """Where to deliver, and what."""

    model_config = ConfigDict(extra="forbid")

    url: StorableText = Field(max_length=MAX_URL, examples=["https://hooks.example.org/heed"])
    events: list[Event] = Field(
        [],
        max_length=32,
        description="Which events; empty means all, later kinds too.",
        examples=[["feedback.created", "subject.erased"]],
    )


class WebhookChange(BaseModel):
    """Switch a webhook on or off."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool


class ReplayIn(BaseModel):
    """Which deliveries to send again: one, or all that were made since a time."""

    model_config = ConfigDict(extra="forbid")

    delivery_id: UUID | None = None
    since: Moment | None = None


class WebhookOut(BaseModel):
    """A stored webhook, without its secret."""

    id: UUID
    url: str
    events: list[str]
    enabled: bool
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook, **more: Any) -> Self:
        """The webhook as it is shown, with what a subclass adds."""
        return cls(**webhook.model_dump(include=set(WebhookOut.model_fields)), **more)


class NewWebhook(WebhookOut):
    """The one reply that holds the secret."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class DeliveryOut(BaseModel):
    """One delivery and how it stands."""

    id: UUID
    message_id: str = Field(description="The `webhook-id` header of all its attempts.")
    type: str
    status: str = Field(
        description="`queued` (waits, perhaps for a retry), `running`, `succeeded`, "
        "`failed` (no attempt is left) or `cancelled`."
    )
    attempts: int
    last_status: int | None = Field(description="The receiver's last HTTP status, if any.")
    error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> "DeliveryOut":
        """The delivery that a job is."""
        return cls(
            id=job.id,
            message_id=message_id(job.id),
            type=job.params["type"],
            status=job.status,
            attempts=job.attempt,
            last_status=job.progress.get("status"),
            error=job.error,
            created_at=job.created_at,
            next_attempt_at=job.run_after if job.status == "queued" else None,
            finished_at=job.finished_at,
        )


class WebhookWithDeliveries(WebhookOut):
    """A webhook and its newest deliveries, newest first."""

    deliveries: list[DeliveryOut]


class Replayed(BaseModel):
    """How many deliveries wait again."""

    replayed: int
