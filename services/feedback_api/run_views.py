"""The shapes of training runs on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from shared.contracts.schedules import MAX_PRIORITY
from shared.contracts.storable import Name, refuse_unstorable
from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.tables import ModelVersion, TrainingRun

_TAIL_CHARS = 2000


class TrainingRunIn(TrainingRequest):
    """What a client asks of a training run, and where it waits."""

    queue: Literal["cpu", "gpu"] = Field("cpu", description="Workers of this queue take it.")
    priority: int = Field(
        0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="The highest is taken first."
    )
    dedupe_key: Name | None = Field(
        None,
        description="While a run of this key waits and was not begun, another one is the same; "
        "without, those that ask for the same training are.",
    )
    command: SkipJsonSchema[Literal[""]] = ""

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        return refuse_unstorable(value)

    @property
    def request(self) -> TrainingRequest:
        """What the run is asked to do."""
        return TrainingRequest.model_validate(
            self.model_dump(exclude={"queue", "priority", "dedupe_key"})
        )


class RunProgress(BaseModel):
    """How far a run is."""

    fraction: float = Field(description="Of the whole run, 0 to 1.")
    stage: str | None = Field(description="What it does at the moment.")
    step: float | None = Field(description="Of the optimizer, as last reported.")
    loss: float | None = Field(description="As last reported.")
    eta_s: float | None = Field(description="Seconds left, by the pace so far.")
    numbers: dict[str, Any] = Field(description="Whatever else the recipe reports.")

    @classmethod
    def of(cls, run: TrainingRun) -> "RunProgress":
        """What the run last told, or nothing yet."""
        told = run.progress
        return cls(
            fraction=told.get("fraction", 0.0),
            stage=told.get("stage"),
            step=told.get("step"),
            loss=told.get("loss"),
            eta_s=told.get("eta_s") if run.status == RunStatus.RUNNING else None,
            numbers=told.get("numbers", {}),
        )


class TrainingRunView(BaseModel):
    """A training run, and how it goes."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: UUID
    kind: str
    status: RunStatus
    model_name: str | None
    queue: str = Field(description="`foreground`: at work on a person's own terminal.")
    priority: int
    attempt: int = Field(description="How often it was begun.")
    max_attempts: int
    cancel_requested: bool
    progress: RunProgress
    error: str | None = Field(description="Why it failed or was cancelled; its first line.")
    schedule: str | None = Field(description="The schedule that has started it.")
    due_at: datetime | None
    created_by: str | None
    created_at: datetime
    started_at: datetime | None = Field(description="Of the newest attempt.")
    finished_at: datetime | None
    duration_s: float | None
    dataset_id: int | None
    model_version_id: UUID | None

    @classmethod
    def of(cls, run: TrainingRun) -> "TrainingRunView":
        """The row as lists show it."""
        return cls(**_known(run) | {"error": run.error and run.error.partition("\n")[0]})


class RunModel(BaseModel):
    """The model version that a run has brought."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    version: int


class TrainingRunDetail(TrainingRunView):
    """A training run with all that is known of it."""

    error: str | None = Field(description="Why it failed or was cancelled, with its last lines.")
    request: dict[str, Any] = Field(description="What it was asked to do.")
    metrics: dict[str, Any]
    model: RunModel | None
    artifact_uri: str | None
    code_version: str | None
    owner: str | None = Field(description="The machine and process at work on it.")
    heartbeat_at: datetime | None
    log_tail: str = Field(description="The last it wrote; `/log` has more.")

    @classmethod
    def of_run(cls, run: TrainingRun, model: ModelVersion | None) -> "TrainingRunDetail":
        """The row and its model as they are shown."""
        asked = {name: value for name, value in run.params.items() if name != "command"}
        more = ("metrics", "artifact_uri", "code_version", "owner", "heartbeat_at")
        return cls(
            **_known(run),
            **{name: getattr(run, name) for name in more},
            request=asked,
            model=RunModel.model_validate(model) if model else None,
            log_tail=(run.log_tail or "")[-_TAIL_CHARS:],
        )


class TrainingRunPage(BaseModel):
    items: list[TrainingRunView]
    next_cursor: str | None


def _known(run: TrainingRun) -> Json:
    own = {name: getattr(run, name) for name in TrainingRunView.model_fields if hasattr(run, name)}
    return own | {"progress": RunProgress.of(run), "model_name": run.params.get("model_name")}
