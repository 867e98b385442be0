"""The review queue on its way: what the trainer is asked for, and what it leaves in the job."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.storable import Name

KIND = "review"  # of the job, and its queue

Reason = Literal["audit", "unsure", "undecided", "coverage"]


class QueueRequest(BaseModel):
    """What the queue should be about; `{}` asks for the usual one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(50, ge=1, le=500, description="How many responses to ask about.")
    audit_share: float = Field(
        0.2, ge=0, le=1, description="Share that is drawn at random from everything."
    )
    agent: Name | None = Field(None, description="Only this agent's responses.")
    by: Name = Field("agent", description="Balance over `agent`, or over a key of the context.")
    model: Name = Field(
        "champion", description="Whose doubt counts: `champion`, `reward@3`, `reward:challenger`."
    )
    pool: int = Field(
        2000, ge=1, le=10_000, description="Most responses to score; of more, a random part."
    )


class Question(BaseModel):
    """One response to ask people about: its row and why, and nothing that people wrote."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    reason: Reason
    probability: float | None = None
    uncertainty: float | None = None
    out_of_domain: bool | None = None


class MadeQueue(BaseModel):
    """A queue as the trainer made it.

    Attributes:
        questions: what to ask about, in this order.
        model: whose doubt it is, as `name@version`; None before there is one.
        recorded: interactions that may be asked about, judged or not.
        unjudged: those of them that nobody had judged.
    """

    model_config = ConfigDict(frozen=True)

    questions: list[Question]
    model: str | None
    recorded: int
    unjudged: int
