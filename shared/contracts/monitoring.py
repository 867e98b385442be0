"""How feedback and the live model are watched, and what was found."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

KIND = "monitoring"  # of the job, and its queue


class MonitoringRequest(BaseModel):
    """How feedback and the live model are watched; `{}` asks for the usual."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: int = Field(30, ge=1, le=365, description="Averages are those of so many days.")
    warn_below: float = Field(0.6, ge=0, le=1, description="Warn of an average (0–1) under it …")
    warn_from: int = Field(51, ge=1, description="… of so many ratings at least.")
    model_name: str = Field("reward", min_length=1, max_length=100, description="Whose champion.")
    newest: int = Field(
        200, ge=0, le=2000, description="How many newest judgements the champion is compared with."
    )


class Average(BaseModel):
    """What people think of one task or agent, 0–1, and of how many ratings."""

    kind: Literal["task", "agent", "all"]
    name: str
    rated: int
    average: float


class Volume(BaseModel):
    """Live posts of the last day, and of a usual one of those before it."""

    last_day: int
    usual_day: float


class NewestAgreement(BaseModel):
    """The live model against people, on prompts that no model was trained on.

    `agreement` is the share of comparisons in which the preferred response has the higher reward,
    and of ratings where a probability of at least 0.5 is what people found good; with a 95 %
    interval over prompts. `promised_low` is the lower end of the pair accuracy that the model had
    on the held-out pairs of its training, which comparisons are measured against.
    """

    model: str
    of: Literal["comparisons", "ratings"]
    counted: int
    agreement: float
    low: float
    high: float
    promised_low: float | None


class Warned(BaseModel):
    """One thing that somebody should look at."""

    kind: Literal["low_average", "quiet", "disagrees"]
    about: str
    value: float
    counted: int


class MonitoringReport(BaseModel):
    """What one look found."""

    at: datetime
    days: int
    averages: list[Average]
    volume: Volume
    newest: list[NewestAgreement] = Field(description="Empty without a live model or judgements.")
    unknown: str | None = Field(description="Why the live model could not be asked.")
    warnings: list[Warned]
