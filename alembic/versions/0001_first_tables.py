"""The first tables: feedback, preferences, lineage, runs, models, keys, audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.db.columns import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Rows of a month that has no partition yet go to the default one; nothing is ever refused.
PARTITIONED = ("rlhf_audit_log", "rlhf_feedback_history", "rlhf_preferences_history")


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("rlhf_row_seq")))
    op.create_table(
        "reasoning_steps",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("chat_id", sa.String(), nullable=False),
        sa.Column("step_order", sa.Integer(), nullable=False),
        sa.Column("step_content", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "id", name=op.f("pk_reasoning_steps")),
        sa.UniqueConstraint(
            "project_id",
            "chat_id",
            "step_order",
            name=op.f("uq_reasoning_steps_project_id_chat_id_step_order"),
        ),
    )
    op.create_table(
        "rlhf_api_keys",
        sa.Column("public_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("public_id", name=op.f("pk_rlhf_api_keys")),
    )
    op.create_table(
        "rlhf_audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column(
            "detail",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", "created_at", name=op.f("pk_rlhf_audit_log")),
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_table(
        "rlhf_consents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('rater', 'subject')", name=op.f("ck_rlhf_consents_kind_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_consents")),
    )
    op.create_index(
        op.f("ix_rlhf_consents_project_id_kind_person_purpose_created_at"),
        "rlhf_consents",
        ["project_id", "kind", "person", "purpose", "created_at"],
        unique=False,
    )
    op.create_table(
        "rlhf_dataset_rows",
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chunk", "dataset_id", name=op.f("pk_rlhf_dataset_rows")),
    )
    op.create_table(
        "rlhf_datasets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column(
            "counts",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "filters",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("watermark", Xid8(), nullable=True),
        sa.Column(
            "previous_sha256",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_datasets")),
    )
    op.create_table(
        "rlhf_decisions",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=True),
        sa.Column("rollout_id", sa.Uuid(), nullable=True),
        sa.Column("arm", sa.String(), nullable=True),
        sa.Column("unit", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "decision_id", name=op.f("pk_rlhf_decisions")),
    )
    op.create_table(
        "rlhf_erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("seqs", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column(
            "receipt",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("requested_by", sa.String(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('rater', 'subject')", name=op.f("ck_rlhf_erasures_kind_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_erasures")),
    )
    op.create_table(
        "rlhf_feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=True),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("agent_name", sa.String(), nullable=True),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column(
            "consent",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column(
            "subjects",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            server_default=sa.text("nextval('rlhf_row_seq')"),
            nullable=False,
        ),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("clinician_id", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("comments", sa.String(), nullable=True),
        sa.Column("processed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("step", sa.String(), server_default="", nullable=False),
        sa.Column("step_id", sa.String(), nullable=True),
        sa.Column("step_order", sa.Integer(), nullable=True),
        sa.Column("step_content", sa.String(), nullable=True),
        sa.Column("user_query", sa.String(), nullable=True),
        sa.Column("agent_response", sa.String(), nullable=True),
        sa.Column(
            "structured_response",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("human_rating", sa.Float(), nullable=True),
        sa.Column("thumbs", sa.String(), nullable=True),
        sa.Column("feedback_type", sa.String(), nullable=True),
        sa.Column(
            "correction", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("corrected_response", sa.String(), nullable=True),
        sa.Column(
            "annotations", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "aspects", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "implicit", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("pending", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "feedback_type IN ('positive', 'negative', 'neutral')",
            name=op.f("ck_rlhf_feedback_feedback_type_known"),
        ),
        sa.CheckConstraint("thumbs IN ('up', 'down')", name=op.f("ck_rlhf_feedback_thumbs_known")),
        sa.CheckConstraint(
            "human_rating BETWEEN 0 AND 1", name=op.f("ck_rlhf_feedback_human_rating_range")
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_rlhf_feedback_rating_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_feedback")),
        sa.UniqueConstraint(
            "project_id", "feedback_id", name=op.f("uq_rlhf_feedback_project_id_feedback_id")
        ),
        sa.UniqueConstraint(
            "project_id",
            "target",
            "step",
            "clinician_id",
            name=op.f("uq_rlhf_feedback_project_id_target_step_clinician_id"),
        ),
        sa.UniqueConstraint("seq", name=op.f("uq_rlhf_feedback_seq")),
    )
    op.create_index(
        "ix_feedback_pending",
        "rlhf_feedback",
        ["session_id", "agent_name"],
        unique=False,
        postgresql_where=sa.text("pending"),
    )
    op.create_index(
        op.f("ix_rlhf_feedback_project_id_agent_name_timestamp"),
        "rlhf_feedback",
        ["project_id", "agent_name", "timestamp"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rlhf_feedback_project_id_created_at_id"),
        "rlhf_feedback",
        ["project_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rlhf_feedback_project_id_interaction_id"),
        "rlhf_feedback",
        ["project_id", "interaction_id"],
        unique=False,
    )
    op.create_index(
        "ix_rlhf_feedback_samples",
        "rlhf_feedback",
        ["project_id", "xid"],
        unique=False,
        postgresql_where=sa.text("consent_training"),
    )
    op.create_index(
        "ix_rlhf_feedback_subjects",
        "rlhf_feedback",
        ["subjects"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.create_table(
        "rlhf_feedback_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("feedback_id", sa.String(), nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=True),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("agent_name", sa.String(), nullable=True),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column(
            "consent",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column(
            "subjects",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("clinician_id", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("comments", sa.String(), nullable=True),
        sa.Column("processed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("step", sa.String(), server_default="", nullable=False),
        sa.Column("step_id", sa.String(), nullable=True),
        sa.Column("step_order", sa.Integer(), nullable=True),
        sa.Column("step_content", sa.String(), nullable=True),
        sa.Column("user_query", sa.String(), nullable=True),
        sa.Column("agent_response", sa.String(), nullable=True),
        sa.Column(
            "structured_response",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("human_rating", sa.Float(), nullable=True),
        sa.Column("thumbs", sa.String(), nullable=True),
        sa.Column("feedback_type", sa.String(), nullable=True),
        sa.Column(
            "correction", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("corrected_response", sa.String(), nullable=True),
        sa.Column(
            "annotations", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "aspects", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "implicit", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("pending", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_by", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "superseded_at", name=op.f("pk_rlhf_feedback_history")),
        postgresql_partition_by="RANGE (superseded_at)",
    )
    op.create_index(
        op.f("ix_rlhf_feedback_history_project_id_feedback_id"),
        "rlhf_feedback_history",
        ["project_id", "feedback_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rlhf_feedback_history_project_id_target_step_clinician_id"),
        "rlhf_feedback_history",
        ["project_id", "target", "step", "clinician_id"],
        unique=False,
    )
    op.create_table(
        "rlhf_interaction_records",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("agent_name", sa.String(), nullable=True),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column(
            "consent",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column(
            "subjects",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("user_prompt", sa.String(), nullable=False),
        sa.Column("ai_response", sa.String(), nullable=False),
        sa.Column(
            "structured_response",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_interaction_records")),
        sa.UniqueConstraint(
            "project_id",
            "interaction_id",
            name=op.f("uq_rlhf_interaction_records_project_id_interaction_id"),
        ),
    )
    op.create_index(
        "ix_interactions_of_session",
        "rlhf_interaction_records",
        ["project_id", "session_id", "agent_name", "timestamp"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rlhf_interaction_records_project_id_created_at_id"),
        "rlhf_interaction_records",
        ["project_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_rlhf_interaction_records_subjects",
        "rlhf_interaction_records",
        ["subjects"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.create_table(
        "rlhf_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), server_default="cpu", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("status", sa.String(), server_default="queued", nullable=False),
        sa.Column(
            "run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default="3", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("dedupe_key", sa.String(), nullable=True),
        sa.Column(
            "params",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "progress",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("schedule", sa.String(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_rlhf_jobs_status_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_jobs")),
        sa.UniqueConstraint(
            "project_id", "schedule", "due_at", name=op.f("uq_rlhf_jobs_project_id_schedule_due_at")
        ),
    )
    op.create_index(
        "ix_rlhf_jobs_claim",
        "rlhf_jobs",
        ["queue", sa.literal_column("priority DESC"), "run_after"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "uq_rlhf_jobs_pending",
        "rlhf_jobs",
        ["project_id", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_table(
        "rlhf_lineage",
        sa.Column("child", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("child", "parent", name=op.f("pk_rlhf_lineage")),
    )
    op.create_index(op.f("ix_rlhf_lineage_parent"), "rlhf_lineage", ["parent"], unique=False)
    op.create_table(
        "rlhf_model_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column(
            "metrics",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "gate", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_model_versions")),
        sa.UniqueConstraint(
            "project_id",
            "name",
            "version",
            name=op.f("uq_rlhf_model_versions_project_id_name_version"),
        ),
    )
    op.create_table(
        "rlhf_outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column(
            "payload",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_outbox")),
    )
    op.create_index(
        "ix_rlhf_outbox_waiting",
        "rlhf_outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("dispatched_at IS NULL"),
    )
    op.create_table(
        "rlhf_preferences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("preference_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("agent_name", sa.String(), nullable=True),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column(
            "consent",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column(
            "subjects",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            server_default=sa.text("nextval('rlhf_row_seq')"),
            nullable=False,
        ),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("clinician_id", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("comments", sa.String(), nullable=True),
        sa.Column("processed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("response_a", sa.String(), nullable=False),
        sa.Column("response_b", sa.String(), nullable=False),
        sa.Column("preferred", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column(
            "candidates", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "ranking", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("strength", sa.Float(), nullable=True),
        sa.Column(
            "presented_order",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column(
            "reasons", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.CheckConstraint(
            "outcome IN ('a', 'b', 'tie', 'both_bad', 'ranking')",
            name=op.f("ck_rlhf_preferences_outcome_known"),
        ),
        sa.CheckConstraint(
            "preferred IN ('a', 'b')", name=op.f("ck_rlhf_preferences_preferred_known")
        ),
        sa.CheckConstraint(
            "preferred IS NOT DISTINCT FROM CASE WHEN outcome IN ('a', 'b') THEN outcome END",
            name=op.f("ck_rlhf_preferences_preferred_is_the_outcome"),
        ),
        sa.CheckConstraint(
            "strength BETWEEN 0 AND 3", name=op.f("ck_rlhf_preferences_strength_range")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_preferences")),
        sa.UniqueConstraint(
            "project_id", "preference_id", name=op.f("uq_rlhf_preferences_project_id_preference_id")
        ),
        sa.UniqueConstraint(
            "project_id",
            "target",
            "clinician_id",
            name=op.f("uq_rlhf_preferences_project_id_target_clinician_id"),
        ),
        sa.UniqueConstraint("seq", name=op.f("uq_rlhf_preferences_seq")),
    )
    op.create_index(
        op.f("ix_rlhf_preferences_project_id_created_at_id"),
        "rlhf_preferences",
        ["project_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_rlhf_preferences_samples",
        "rlhf_preferences",
        ["project_id", "xid"],
        unique=False,
        postgresql_where=sa.text("consent_training"),
    )
    op.create_index(
        "ix_rlhf_preferences_subjects",
        "rlhf_preferences",
        ["subjects"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.create_table(
        "rlhf_preferences_history",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("preference_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=True),
        sa.Column("agent_name", sa.String(), nullable=True),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(), nullable=True),
        sa.Column(
            "consent",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("consent_training", sa.Boolean(), nullable=False),
        sa.Column(
            "subjects",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("key_id", sa.String(), nullable=True),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("clinician_id", sa.String(), nullable=True),
        sa.Column("task_type", sa.String(), nullable=True),
        sa.Column("comments", sa.String(), nullable=True),
        sa.Column("processed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("response_a", sa.String(), nullable=False),
        sa.Column("response_b", sa.String(), nullable=False),
        sa.Column("preferred", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column(
            "candidates", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "ranking", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("strength", sa.Float(), nullable=True),
        sa.Column(
            "presented_order",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column(
            "reasons", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_by", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "superseded_at", name=op.f("pk_rlhf_preferences_history")),
        postgresql_partition_by="RANGE (superseded_at)",
    )
    op.create_index(
        op.f("ix_rlhf_preferences_history_project_id_preference_id"),
        "rlhf_preferences_history",
        ["project_id", "preference_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_rlhf_preferences_history_project_id_target_clinician_id"),
        "rlhf_preferences_history",
        ["project_id", "target", "clinician_id"],
        unique=False,
    )
    op.create_table(
        "rlhf_projects",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("secret_fingerprint", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_rlhf_projects_name")),
    )
    op.create_table(
        "rlhf_prompt_groups",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("group_hash", sa.LargeBinary(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column(
            "first_seen",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "side IN ('train', 'test')", name=op.f("ck_rlhf_prompt_groups_side_known")
        ),
        sa.PrimaryKeyConstraint("project_id", "group_hash", name=op.f("pk_rlhf_prompt_groups")),
    )
    op.create_table(
        "rlhf_raters",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column(
            "reliability",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "rater", name=op.f("pk_rlhf_raters")),
    )
    op.create_table(
        "rlhf_receipts",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body_mac", sa.LargeBinary(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column(
            "reply",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_rlhf_receipts")),
    )
    op.create_index(
        op.f("ix_rlhf_receipts_created_at"), "rlhf_receipts", ["created_at"], unique=False
    )
    op.create_index(op.f("ix_rlhf_receipts_row_id"), "rlhf_receipts", ["row_id"], unique=False)
    op.create_table(
        "rlhf_reward_model_training",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), server_default="cpu", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("status", sa.String(), server_default="queued", nullable=False),
        sa.Column(
            "run_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), server_default="3", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("dedupe_key", sa.String(), nullable=True),
        sa.Column(
            "params",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "progress",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("schedule", sa.String(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True),
        sa.Column("model_version_id", sa.Uuid(), nullable=True),
        sa.Column(
            "metrics",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("code_version", sa.String(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("artifact_uri", sa.String(), nullable=True),
        sa.Column("log_uri", sa.String(), nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted')",
            name=op.f("ck_rlhf_reward_model_training_status_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_reward_model_training")),
        sa.UniqueConstraint(
            "project_id",
            "schedule",
            "due_at",
            name=op.f("uq_rlhf_reward_model_training_project_id_schedule_due_at"),
        ),
    )
    op.create_index(
        "ix_rlhf_reward_model_training_claim",
        "rlhf_reward_model_training",
        ["queue", sa.literal_column("priority DESC"), "run_after"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "uq_rlhf_reward_model_training_pending",
        "rlhf_reward_model_training",
        ["project_id", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_table(
        "rlhf_schedules",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cron", sa.String(), nullable=True),
        sa.Column(
            "threshold", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("time_zone", sa.String(), server_default="UTC", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "run",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_rlhf_schedules")),
    )
    op.create_table(
        "rlhf_subject_keys",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=True),
        sa.Column("master_key_id", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("project_id", "person", name=op.f("pk_rlhf_subject_keys")),
    )
    op.create_table(
        "rlhf_webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column(
            "events",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'::text[]"),
            nullable=False,
        ),
        sa.Column("wrapped_secret", sa.LargeBinary(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_webhooks")),
    )
    op.create_table(
        "rlhf_alias_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("from_version_id", sa.Uuid(), nullable=True),
        sa.Column("to_version_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column(
            "verdict", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("changed_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["from_version_id"],
            ["rlhf_model_versions.id"],
            name=op.f("fk_rlhf_alias_changes_from_version_id_rlhf_model_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["to_version_id"],
            ["rlhf_model_versions.id"],
            name=op.f("fk_rlhf_alias_changes_to_version_id_rlhf_model_versions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_alias_changes")),
    )
    op.create_table(
        "rlhf_model_aliases",
        sa.Column(
            "project_id",
            sa.Integer(),
            server_default=sa.text("1"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["rlhf_model_versions.id"],
            name=op.f("fk_rlhf_model_aliases_version_id_rlhf_model_versions"),
        ),
        sa.PrimaryKeyConstraint("project_id", "name", "alias", name=op.f("pk_rlhf_model_aliases")),
    )
    op.create_table(
        "rlhf_rollouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("baseline_id", sa.Uuid(), nullable=False),
        sa.Column("candidate_id", sa.Uuid(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("status", sa.String(), server_default="running", nullable=False),
        sa.Column(
            "plan",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "result",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'promoted', 'rolled_back', 'stopped')",
            name=op.f("ck_rlhf_rollouts_status_known"),
        ),
        sa.CheckConstraint("share BETWEEN 0 AND 1", name=op.f("ck_rlhf_rollouts_share_range")),
        sa.ForeignKeyConstraint(
            ["baseline_id"],
            ["rlhf_model_versions.id"],
            name=op.f("fk_rlhf_rollouts_baseline_id_rlhf_model_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["candidate_id"],
            ["rlhf_model_versions.id"],
            name=op.f("fk_rlhf_rollouts_candidate_id_rlhf_model_versions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rlhf_rollouts")),
    )
    for parent in PARTITIONED:
        op.execute(f"CREATE TABLE {parent}_default PARTITION OF {parent} DEFAULT")
    op.execute("INSERT INTO rlhf_projects (name) VALUES ('default')")


def downgrade() -> None:
    op.drop_table("rlhf_rollouts")
    op.drop_table("rlhf_model_aliases")
    op.drop_table("rlhf_alias_changes")
    op.drop_table("rlhf_webhooks")
    op.drop_table("rlhf_subject_keys")
    op.drop_table("rlhf_schedules")
    op.drop_index(
        "uq_rlhf_reward_model_training_pending",
        table_name="rlhf_reward_model_training",
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_index(
        "ix_rlhf_reward_model_training_claim",
        table_name="rlhf_reward_model_training",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("rlhf_reward_model_training")
    op.drop_index(op.f("ix_rlhf_receipts_row_id"), table_name="rlhf_receipts")
    op.drop_index(op.f("ix_rlhf_receipts_created_at"), table_name="rlhf_receipts")
    op.drop_table("rlhf_receipts")
    op.drop_table("rlhf_raters")
    op.drop_table("rlhf_prompt_groups")
    op.drop_table("rlhf_projects")
    op.drop_index(
        op.f("ix_rlhf_preferences_history_project_id_target_clinician_id"),
        table_name="rlhf_preferences_history",
    )
    op.drop_index(
        op.f("ix_rlhf_preferences_history_project_id_preference_id"),
        table_name="rlhf_preferences_history",
    )
    op.drop_table("rlhf_preferences_history")
    op.drop_index(
        "ix_rlhf_preferences_subjects",
        table_name="rlhf_preferences",
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.drop_index(
        "ix_rlhf_preferences_samples",
        table_name="rlhf_preferences",
        postgresql_where=sa.text("consent_training"),
    )
    op.drop_index(
        op.f("ix_rlhf_preferences_project_id_created_at_id"), table_name="rlhf_preferences"
    )
    op.drop_table("rlhf_preferences")
    op.drop_index(
        "ix_rlhf_outbox_waiting",
        table_name="rlhf_outbox",
        postgresql_where=sa.text("dispatched_at IS NULL"),
    )
    op.drop_table("rlhf_outbox")
    op.drop_table("rlhf_model_versions")
    op.drop_index(op.f("ix_rlhf_lineage_parent"), table_name="rlhf_lineage")
    op.drop_table("rlhf_lineage")
    op.drop_index(
        "uq_rlhf_jobs_pending",
        table_name="rlhf_jobs",
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.drop_index(
        "ix_rlhf_jobs_claim",
        table_name="rlhf_jobs",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("rlhf_jobs")
    op.drop_index(
        "ix_rlhf_interaction_records_subjects",
        table_name="rlhf_interaction_records",
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.drop_index(
        op.f("ix_rlhf_interaction_records_project_id_created_at_id"),
        table_name="rlhf_interaction_records",
    )
    op.drop_index("ix_interactions_of_session", table_name="rlhf_interaction_records")
    op.drop_table("rlhf_interaction_records")
    op.drop_index(
        op.f("ix_rlhf_feedback_history_project_id_target_step_clinician_id"),
        table_name="rlhf_feedback_history",
    )
    op.drop_index(
        op.f("ix_rlhf_feedback_history_project_id_feedback_id"), table_name="rlhf_feedback_history"
    )
    op.drop_table("rlhf_feedback_history")
    op.drop_index(
        "ix_rlhf_feedback_subjects",
        table_name="rlhf_feedback",
        postgresql_using="gin",
        postgresql_where=sa.text("subjects <> '{}'"),
    )
    op.drop_index(
        "ix_rlhf_feedback_samples",
        table_name="rlhf_feedback",
        postgresql_where=sa.text("consent_training"),
    )
    op.drop_index(op.f("ix_rlhf_feedback_project_id_interaction_id"), table_name="rlhf_feedback")
    op.drop_index(op.f("ix_rlhf_feedback_project_id_created_at_id"), table_name="rlhf_feedback")
    op.drop_index(
        op.f("ix_rlhf_feedback_project_id_agent_name_timestamp"), table_name="rlhf_feedback"
    )
    op.drop_index(
        "ix_feedback_pending", table_name="rlhf_feedback", postgresql_where=sa.text("pending")
    )
    op.drop_table("rlhf_feedback")
    op.drop_table("rlhf_erasures")
    op.drop_table("rlhf_decisions")
    op.drop_table("rlhf_datasets")
    op.drop_table("rlhf_dataset_rows")
    op.drop_index(
        op.f("ix_rlhf_consents_project_id_kind_person_purpose_created_at"),
        table_name="rlhf_consents",
    )
    op.drop_table("rlhf_consents")
    op.drop_table("rlhf_audit_log")
    op.drop_table("rlhf_api_keys")
    op.drop_table("reasoning_steps")
    op.execute(sa.schema.DropSequence(sa.Sequence("rlhf_row_seq")))
