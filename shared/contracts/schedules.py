"""Schedules on their way: when something is due, what it needs, and what is then to be done."""

from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.monitoring import MonitoringRequest
from shared.contracts.storable import Name, refuse_unstorable
from shared.contracts.training import RunKind, TrainingRequest

MAX_SAMPLES = 10_000_000
MAX_PRIORITY = 1000
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,100}$"


class Firing(StrEnum):
    """What came of the last time a schedule was due."""

    STARTED = "started"
    COLLAPSED = "collapsed"
    TOO_FEW = "too_few"


class Threshold(BaseModel):
    """What a schedule counts: samples of all, of one task type, or of any one task type.

    A sample is a live, settled row of feedback or preferences with training consent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(ge=1, le=MAX_SAMPLES, description="So many are enough.")
    task_type: Name | None = Field(None, description="Count this task type only.")
    any_task: bool = Field(False, description="Any single task type must have so many.")
    in_total: bool = Field(
        False,
        description="Count all there are, and ask for one new one at least; else only new ones "
        "count. Needs a cron.",
    )

    @model_validator(mode="after")
    def _counts_one_thing(self) -> Self:
        if self.task_type is not None and self.any_task:
            raise ValueError("give either a task_type or any_task")
        return self


class ScheduleIn(BaseModel):
    """A schedule as people write it: due by a cron, by a threshold, or by a cron with one.

    With both, the threshold is looked at whenever the cron is due, and decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str | None = Field(
        None,
        max_length=100,
        description="Minute, hour, day of month, month, day of week, such as `0 2 * * *`.",
    )
    time_zone: str = Field(
        "UTC", max_length=64, description="IANA name of the cron's clock, such as `Europe/Berlin`."
    )
    threshold: Threshold | None = None
    run: TrainingRequest | None = Field(None, description="The training to start.")
    monitoring: MonitoringRequest | None = Field(None, description="Or: what to watch.")
    queue: str = Field(
        "cpu", pattern=r"^[a-z0-9_-]{1,40}$", description="Queue of the workers that train it."
    )
    priority: int = Field(
        0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Higher ones are taken first."
    )
    enabled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        return refuse_unstorable(value)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.cron is None and self.threshold is None:
            raise ValueError("give a cron, a threshold, or both")
        if self.cron is None and self.threshold is not None and self.threshold.in_total:
            raise ValueError("a threshold in total is always reached sooner or later: give a cron")
        if (self.run is None) == (self.monitoring is None):
            raise ValueError("give either a run or a monitoring")
        if self.run is not None:
            _require_trainable(self.run)
        elif self.cron is None or self.threshold is not None:
            raise ValueError("monitoring needs a cron, and takes no threshold")
        return self


def _require_trainable(run: TrainingRequest) -> None:
    if run.kind is RunKind.REWARD_ADDED:
        raise ValueError("a model that was made elsewhere is not trained; add it again by hand")
    if run.dataset_file is not None:
        raise ValueError("a schedule learns from what people post, and from no file")
