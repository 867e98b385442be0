"""Columns that several tables share: the two kinds of post, live and history, and queued work;
and those of a schedule, which say what it queues."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.contracts.values import ErasureKind, RunStatus
from shared.db.columns import (
    MOMENT,
    ROW_SEQ,
    Json,
    JsonList,
    defaulted,
    flag,
    identity_key,
    json_field,
    moment_field,
    now_field,
    one_of,
    project,
    text_array,
    uuid_key,
    xid_field,
)
from shared.ids import new_id


class Stored(SQLModel):
    """A row with a UUIDv7 of its own."""

    id: uuid.UUID = uuid_key()
    project_id: int = project()
    created_at: datetime = now_field()


class Numbered(SQLModel):
    """A row the database counts."""

    id: int = identity_key()
    project_id: int = project()
    created_at: datetime = now_field()


class Sequenced(SQLModel):
    """A row that datasets can name by a bit: `seq` numbers it, or one version of it."""

    seq: int = Field(
        default=None,
        sa_column_kwargs={"server_default": ROW_SEQ.next_value()},
        sa_type=BigInteger,
        nullable=False,
    )


class RowVersion(Sequenced):
    """What every version of a feedback or preference row carries.

    `xid` is its transaction; `id` is the post that wrote it.
    """

    xid: int = xid_field()
    created_at: datetime = now_field()


class Origin(SQLModel):
    """Where something that was sent comes from, whom it is about, and what may be done with it."""

    session_id: str | None = None
    agent_name: str | None = None
    context: Json = json_field("{}")
    decision_id: str | None = None
    consent: Json = json_field("{}")
    consent_training: bool = Field(nullable=False)
    subjects: list[str] = text_array()
    key_id: str | None = None
    timestamp: datetime = now_field()


class PostColumns(RowVersion, Origin):
    """What one accepted post carries, whether feedback or preference, live or superseded."""

    id: uuid.UUID = Field(default_factory=new_id, nullable=False)
    project_id: int = project()
    target: str = Field(nullable=False)
    clinician_id: str | None = None
    task_type: str | None = None
    comments: str | None = None
    processed: bool = flag()


class FeedbackColumns(PostColumns):
    feedback_id: str = Field(nullable=False)
    interaction_id: str | None = None
    step: str = defaulted("")
    step_id: str | None = None
    step_order: int | None = None
    step_content: str | None = None
    user_query: str | None = None
    agent_response: str | None = None
    structured_response: Json | None = json_field()
    rating: int | None = Field(default=None, sa_type=SmallInteger)
    human_rating: float | None = None
    thumbs: str | None = None
    feedback_type: str | None = None
    correction: Json | None = json_field()
    corrected_response: str | None = None
    annotations: JsonList | None = json_field()
    aspects: Json | None = json_field()
    implicit: JsonList | None = json_field()
    model_version: str | None = None
    pending: bool = flag()


class PreferenceColumns(PostColumns):
    preference_id: str = Field(nullable=False)
    prompt: str = Field(nullable=False)
    response_a: str = Field(nullable=False)
    response_b: str = Field(nullable=False)
    preferred: str | None = None
    outcome: str = Field(nullable=False)
    candidates: JsonList | None = json_field()
    ranking: JsonList | None = json_field()
    strength: float | None = None
    presented_order: JsonList | None = json_field()
    reasons: JsonList | None = json_field()


class Superseded(SQLModel):
    """What a version carries beside its columns once `superseded_by` took its place."""

    seq: int = Field(primary_key=True, sa_type=BigInteger)
    superseded_at: datetime = Field(primary_key=True, sa_type=MOMENT)
    superseded_by: uuid.UUID


class WorkColumns(SQLModel):
    """What a claimable row carries: the row itself is the queue entry."""

    id: uuid.UUID = uuid_key()
    project_id: int = project()
    kind: str
    queue: str = defaulted("cpu")
    priority: int = defaulted(0)
    status: str = defaulted("queued")
    run_after: datetime = now_field()
    attempt: int = defaulted(0)
    max_attempts: int = defaulted(3)
    owner: str | None = None
    lease_until: datetime | None = moment_field()
    heartbeat_at: datetime | None = moment_field()
    cancel_requested: bool = flag()
    dedupe_key: str | None = None
    params: Json = json_field("{}")
    progress: Json = json_field("{}")
    error: str | None = None
    schedule: str | None = None
    due_at: datetime | None = moment_field()
    created_by: str | None = None
    created_at: datetime = now_field()
    started_at: datetime | None = moment_field()
    finished_at: datetime | None = moment_field()


class ScheduleColumns(SQLModel):
    """When something is due, what is then queued where, and what came of the last time."""

    cron: str | None = None
    threshold: Json | None = json_field()
    time_zone: str = defaulted("UTC")
    next_at: datetime | None = moment_field()
    run: Json = json_field("{}")
    queue: str = defaulted("cpu")
    priority: int = defaulted(0)
    enabled: bool = flag(default=True)
    last_due_at: datetime | None = moment_field()
    last_outcome: str | None = None
    last_id: uuid.UUID | None = None


def post_indexes(table: str) -> tuple[Index | UniqueConstraint, ...]:
    """What pages through a live table, counts its new samples and finds a person's rows."""
    samples = Index(
        f"ix_{table}_samples", "project_id", "xid", postgresql_where=text("consent_training")
    )
    return (*stored_indexes(table), samples)


def stored_indexes(table: str) -> tuple[Index | UniqueConstraint, ...]:
    """What pages through a table of numbered rows and finds a person's."""
    return (
        UniqueConstraint("seq"),
        Index(None, "project_id", "created_at", "id"),
        subjects_index(table),
    )


def subjects_index(table: str) -> Index:
    """What finds the rows about a person; a query must repeat `subjects <> '{}'` to use it."""
    return Index(
        f"ix_{table}_subjects",
        "subjects",
        postgresql_using="gin",
        postgresql_where=text("subjects <> '{}'"),
    )


def erasure_rules() -> tuple[CheckConstraint]:
    """Why rows may have been erased."""
    return (one_of("kind", ErasureKind),)


# Work that nobody has begun; what waits for a further attempt has its own frozen data already.
PENDING = "status = 'queued' AND attempt = 0"


def work_rules(table: str) -> tuple[CheckConstraint | Index | UniqueConstraint, ...]:
    """How a claim finds its row, and how a second copy of pending or due work is refused."""
    return (
        one_of("status", RunStatus),
        UniqueConstraint("project_id", "schedule", "due_at"),
        Index(
            f"ix_{table}_claim",
            "queue",
            text("priority DESC"),
            "run_after",
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index(
            f"uq_{table}_pending",
            "project_id",
            "dedupe_key",
            unique=True,
            postgresql_where=text(PENDING),
        ),
    )
