"""What a training run last wrote is in its row; only work that nobody has begun collapses.

A run that waits for its next attempt keeps what it froze, so a new request of the same kind is
not the same work. Were both under one key, putting the first one back would fail.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RUNS = "rlhf_reward_model_training"
TABLES = ("rlhf_jobs", RUNS)


def upgrade() -> None:
    op.add_column(RUNS, sa.Column("log_tail", sa.String(), nullable=True))
    _index_pending("status = 'queued' AND attempt = 0")


def downgrade() -> None:
    """The older index counts work that was begun too, which may have a twin by now."""
    for table in TABLES:
        op.execute(f"UPDATE {table} SET dedupe_key = NULL WHERE status = 'queued' AND attempt > 0")
    _index_pending("status = 'queued'")
    op.drop_column(RUNS, "log_tail")


def _index_pending(predicate: str) -> None:
    for table in TABLES:
        op.drop_index(f"uq_{table}_pending", table_name=table)
        op.create_index(
            f"uq_{table}_pending",
            table,
            ["project_id", "dedupe_key"],
            unique=True,
            postgresql_where=sa.text(predicate),
        )
