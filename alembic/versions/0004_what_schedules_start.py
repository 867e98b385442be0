"""A schedule names the queue and priority of what it starts, and what came of it the last time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "rlhf_schedules"
KNOWN = "ck_rlhf_schedules_last_outcome_known"
ADDED = ("queue", "priority", "last_due_at", "last_outcome", "last_id")


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("queue", sa.String(), server_default="cpu", nullable=False))
    op.add_column(TABLE, sa.Column("priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column(TABLE, sa.Column("last_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(TABLE, sa.Column("last_outcome", sa.String(), nullable=True))
    op.add_column(TABLE, sa.Column("last_id", sa.Uuid(), nullable=True))
    op.create_check_constraint(
        op.f(KNOWN), TABLE, "last_outcome IN ('started', 'collapsed', 'too_few')"
    )
    _rename("new_samples", "samples")  # since all there are may be counted as well


def downgrade() -> None:
    _rename("samples", "new_samples")
    op.drop_constraint(op.f(KNOWN), TABLE, type_="check")
    for name in ADDED:
        op.drop_column(TABLE, name)


def _rename(old: str, new: str) -> None:
    op.execute(
        f"UPDATE {TABLE} SET threshold = threshold - '{old}' || "
        f"jsonb_build_object('{new}', threshold -> '{old}') WHERE threshold ? '{old}'"
    )
