"""Replies that only this service's operators read; the rest is in `shared.contracts.scoring`."""

from datetime import datetime

from pydantic import BaseModel, Field

from shared.contracts.scoring import ModelIdentity


class LoadedModel(ModelIdentity):
    """One reference in memory and what it serves."""

    reference: str = Field(examples=["reward:champion"])
    loaded_at: datetime
    last_error: str | None = Field(description="Why a newer version is not served.")


class LiveReply(BaseModel):
    """Which model answers a request that names none, and what else is in memory."""

    model: ModelIdentity | None
    reason: str | None = Field(description="Why no model is live.")
    last_error: str | None = Field(description="Why the version in the registry is not served.")
    loaded: list[LoadedModel]


class ReadyReply(BaseModel):
    """Whether requests would be answered, and by what."""

    status: str = Field(examples=["ready"])
    model: str = Field(description="Name and version, or `none`.", examples=["reward@3"])
    database: str = Field(examples=["ok"])
    last_error: str | None
