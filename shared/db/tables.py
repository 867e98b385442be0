"""The whole schema on one page.

A column keeps the name a client knows (`user_query`) where the field has a term of its own
(`prompt`); the wire shapes translate. `views.py` holds what is not a table: views and the like.
"""

import uuid
from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Index, Integer, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from shared.contracts.schedules import Firing
from shared.contracts.values import FeedbackType, Outcome, PersonKind, RolloutStatus, Side, Thumb
from shared.db import rows
from shared.db.columns import (
    Json,
    Xid8,
    defaulted,
    flag,
    identity_key,
    in_range,
    json_field,
    moment_field,
    now_field,
    one_of,
    project,
    project_key,
    text_array,
    uuid_key,
    xid_field,
)


class Project(SQLModel, table=True):
    __tablename__ = "rlhf_projects"
    id: int = identity_key(Integer)
    name: str = Field(unique=True)
    created_at: datetime = now_field()
    secret_fingerprint: bytes | None = None


class Feedback(rows.FeedbackColumns, table=True):
    """The live row of each (target, step, rater)."""

    __tablename__ = "rlhf_feedback"
    __table_args__ = (
        UniqueConstraint("project_id", "target", "step", "clinician_id"),
        UniqueConstraint("project_id", "feedback_id"),
        in_range("rating", 1, 5),
        in_range("human_rating", 0, 1),
        one_of("thumbs", Thumb),
        one_of("feedback_type", FeedbackType),
        Index(None, "project_id", "interaction_id"),
        Index(None, "project_id", "agent_name", "timestamp"),
        *rows.post_indexes("rlhf_feedback"),
        Index("ix_feedback_pending", "session_id", "agent_name", postgresql_where=text("pending")),
    )

    id: uuid.UUID = uuid_key()


class FeedbackHistory(rows.Superseded, rows.FeedbackColumns, table=True):
    """Superseded versions; partitioned by month of `superseded_at`."""

    __tablename__ = "rlhf_feedback_history"
    __table_args__ = (
        Index(None, "project_id", "target", "step", "clinician_id"),
        Index(None, "project_id", "feedback_id"),
        {"postgresql_partition_by": "RANGE (superseded_at)"},
    )


class Preference(rows.PreferenceColumns, table=True):
    """The live comparison of each (pair, rater)."""

    __tablename__ = "rlhf_preferences"
    __table_args__ = (
        UniqueConstraint("project_id", "target", "clinician_id"),
        UniqueConstraint("project_id", "preference_id"),
        CheckConstraint("preferred IN ('a', 'b')", name="preferred_known"),
        CheckConstraint(
            "preferred IS NOT DISTINCT FROM CASE WHEN outcome IN ('a', 'b') THEN outcome END",
            name="preferred_is_the_outcome",
        ),
        one_of("outcome", Outcome),
        in_range("strength", 0, 3),
        *rows.post_indexes("rlhf_preferences"),
    )

    id: uuid.UUID = uuid_key()


class PreferenceHistory(rows.Superseded, rows.PreferenceColumns, table=True):
    """Superseded comparisons; partitioned by month of `superseded_at`."""

    __tablename__ = "rlhf_preferences_history"
    __table_args__ = (
        Index(None, "project_id", "target", "clinician_id"),
        Index(None, "project_id", "preference_id"),
        {"postgresql_partition_by": "RANGE (superseded_at)"},
    )


class Receipt(SQLModel, table=True):
    """What was replied to a post, so that its repetition gets the same reply."""

    __tablename__ = "rlhf_receipts"
    __table_args__ = (Index(None, "created_at"), Index(None, "row_id"))

    project_id: int = Field(primary_key=True)
    key: str = Field(primary_key=True)
    body_mac: bytes
    row_id: uuid.UUID
    reply: Json = json_field("{}")
    created_at: datetime = now_field()


class InteractionRecord(rows.Sequenced, rows.Origin, rows.Stored, table=True):
    """A recorded exchange; the view `rlhf_interactions` adds its latest stars and comment."""

    __tablename__ = "rlhf_interaction_records"
    __table_args__ = (
        UniqueConstraint("project_id", "interaction_id"),
        Index("ix_interactions_of_session", "project_id", "session_id", "agent_name", "timestamp"),
        *rows.stored_indexes("rlhf_interaction_records"),
    )

    interaction_id: str
    user_prompt: str
    ai_response: str
    structured_response: Json | None = json_field()
    model_version: str | None = None


class ReasoningStep(SQLModel, table=True):
    __tablename__ = "reasoning_steps"
    __table_args__ = (UniqueConstraint("project_id", "chat_id", "step_order"),)

    project_id: int = project_key()
    id: str = Field(primary_key=True)
    chat_id: str
    step_order: int
    step_content: str
    created_at: datetime = now_field()


class Rater(SQLModel, table=True):
    """What is known of one pseudonymous rater: qualification, weight, reliability."""

    __tablename__ = "rlhf_raters"
    project_id: int = project_key()
    rater: str = Field(primary_key=True)
    role: str | None = None
    weight: float = 1.0
    reliability: Json = json_field("{}")
    created_at: datetime = now_field()


class Consent(rows.Stored, table=True):
    """Consent given or withdrawn by a rater or a subject, per purpose; the newest row counts."""

    __tablename__ = "rlhf_consents"
    __table_args__ = (
        one_of("kind", PersonKind),
        Index(None, "project_id", "kind", "person", "purpose", "created_at"),
    )

    kind: str
    person: str
    purpose: str
    granted: bool


class SubjectKey(SQLModel, table=True):
    """The wrapped data key of one person; erasing the person destroys it."""

    __tablename__ = "rlhf_subject_keys"
    project_id: int = project_key()
    person: str = Field(primary_key=True)
    wrapped_key: bytes | None = None
    master_key_id: str
    created_at: datetime = now_field()
    destroyed_at: datetime | None = moment_field()


class Erasure(rows.Stored, table=True):
    __tablename__ = "rlhf_erasures"
    __table_args__ = rows.erasure_rules()

    kind: str
    person: str
    seqs: list[int] = Field(sa_type=ARRAY(BigInteger), nullable=False)
    receipt: Json = json_field("{}")
    requested_by: str | None = None
    finished_at: datetime | None = moment_field()


class Lineage(SQLModel, table=True):
    """`child` was made from `parent`; ids are `dataset:7`, `model:<uuid>`, `erasure:<uuid>`."""

    __tablename__ = "rlhf_lineage"
    __table_args__ = (Index(None, "parent"),)

    child: str = Field(primary_key=True)
    parent: str = Field(primary_key=True)
    project_id: int = project()
    created_at: datetime = now_field()


class Dataset(rows.Numbered, table=True):
    """A frozen snapshot; its rows are bits in `rlhf_dataset_rows`, its text a file by hash."""

    __tablename__ = "rlhf_datasets"
    name: str
    sha256: str
    uri: str
    rows: int
    counts: Json = json_field("{}")
    filters: Json = json_field("{}")
    watermark: int | None = Field(default=None, sa_type=Xid8)
    previous_sha256: list[str] = text_array()
    created_by: str | None = None


class DatasetRows(SQLModel, table=True):
    """Membership: bit i of chunk c says that the row version with seq c * 65,536 + i is in."""

    __tablename__ = "rlhf_dataset_rows"
    chunk: int = Field(primary_key=True)
    dataset_id: int = Field(primary_key=True, sa_type=BigInteger)
    bits: bytes


class PromptGroup(SQLModel, table=True):
    """The side of a prompt group, fixed on first sight for the deployment's life."""

    __tablename__ = "rlhf_prompt_groups"
    __table_args__ = (one_of("side", Side),)

    project_id: int = project_key()
    group_hash: bytes = Field(primary_key=True)
    side: str
    first_seen: datetime = now_field()


class TrainingRun(rows.WorkColumns, table=True):
    """Every training run of every kind, and its place in the queue."""

    __tablename__ = "rlhf_reward_model_training"
    __table_args__ = rows.work_rules("rlhf_reward_model_training")

    dataset_id: int | None = Field(None, sa_type=BigInteger)
    model_version_id: uuid.UUID | None = None
    metrics: Json = json_field("{}")
    code_version: str | None = None
    duration_s: float | None = None
    artifact_uri: str | None = None
    log_uri: str | None = None
    log_tail: str | None = None


class Job(rows.WorkColumns, table=True):
    """Small work: webhooks, erasures, reports."""

    __tablename__ = "rlhf_jobs"
    __table_args__ = rows.work_rules("rlhf_jobs")


class Schedule(rows.ScheduleColumns, table=True):
    """What is due when, and what came of it the last time."""

    __tablename__ = "rlhf_schedules"
    __table_args__ = (one_of("last_outcome", Firing),)

    project_id: int = project_key()
    name: str = Field(primary_key=True)


class ModelVersion(rows.Stored, table=True):
    """A stored model; versions are never overwritten."""

    __tablename__ = "rlhf_model_versions"
    __table_args__ = (UniqueConstraint("project_id", "name", "version"),)

    name: str
    version: int
    kind: str
    sha256: str
    uri: str
    metrics: Json = json_field("{}")
    gate: Json | None = json_field()
    run_id: uuid.UUID | None = None
    dataset_id: int | None = Field(None, sa_type=BigInteger)
    retired_at: datetime | None = moment_field()


class ModelAlias(SQLModel, table=True):
    """Which version `champion` or `challenger` means now."""

    __tablename__ = "rlhf_model_aliases"
    project_id: int = project_key()
    name: str = Field(primary_key=True)
    alias: str = Field(primary_key=True)
    version_id: uuid.UUID = Field(foreign_key="rlhf_model_versions.id")
    updated_at: datetime = now_field()


class AliasChange(rows.Numbered, table=True):
    """Every move of an alias, who made it and on which verdict; rolling back reads it."""

    __tablename__ = "rlhf_alias_changes"
    name: str
    alias: str
    from_version_id: uuid.UUID | None = Field(None, foreign_key="rlhf_model_versions.id")
    to_version_id: uuid.UUID | None = Field(None, foreign_key="rlhf_model_versions.id")
    action: str
    reason: str | None = None
    verdict: Json | None = json_field()
    changed_by: str | None = None


class Rollout(rows.Stored, table=True):
    """Traffic shared between two versions: a canary or an A/B test."""

    __tablename__ = "rlhf_rollouts"
    __table_args__ = (in_range("share", 0, 1), one_of("status", RolloutStatus))

    name: str
    baseline_id: uuid.UUID = Field(foreign_key="rlhf_model_versions.id")
    candidate_id: uuid.UUID = Field(foreign_key="rlhf_model_versions.id")
    share: float
    status: str = defaulted("running")
    plan: Json = json_field("{}")
    result: Json = json_field("{}")
    finished_at: datetime | None = moment_field()


class Decision(SQLModel, table=True):
    """Which version answered a re-ranking or an assignment; feedback names its id."""

    __tablename__ = "rlhf_decisions"
    project_id: int = project_key()
    decision_id: str = Field(primary_key=True)
    kind: str
    version_id: uuid.UUID | None = None
    rollout_id: uuid.UUID | None = None
    arm: str | None = None
    unit: str | None = None
    created_at: datetime = now_field()


class ApiKey(SQLModel, table=True):
    __tablename__ = "rlhf_api_keys"
    public_id: str = Field(primary_key=True)
    project_id: int = project()
    name: str
    secret_sha256: bytes
    scopes: list[str] = text_array()
    created_at: datetime = now_field()
    expires_at: datetime | None = moment_field()
    revoked_at: datetime | None = moment_field()


class Outbox(rows.Numbered, table=True):
    """Events to hand out, written in the transaction that made them true."""

    __tablename__ = "rlhf_outbox"
    __table_args__ = (
        Index("ix_rlhf_outbox_waiting", "id", postgresql_where=text("dispatched_at IS NULL")),
    )

    event: str
    payload: Json = json_field("{}")
    xid: int = xid_field()
    dispatched_at: datetime | None = moment_field()


class Webhook(rows.Stored, table=True):
    __tablename__ = "rlhf_webhooks"
    url: str
    events: list[str] = text_array()
    wrapped_secret: bytes
    enabled: bool = flag(default=True)


class AuditEntry(SQLModel, table=True):
    """Who read, exported, erased, promoted; append-only, partitioned by month."""

    __tablename__ = "rlhf_audit_log"
    __table_args__ = {"postgresql_partition_by": "RANGE (created_at)"}

    id: uuid.UUID = uuid_key()
    created_at: datetime = now_field(primary_key=True)
    project_id: int = project()
    actor: str
    action: str
    target: str
    detail: Json = json_field("{}")
