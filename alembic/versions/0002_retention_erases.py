"""Rows that were kept long enough are erased like those of a person who asks for it."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KIND = "ck_rlhf_erasures_kind_known"


def upgrade() -> None:
    op.drop_constraint(op.f(KIND), "rlhf_erasures", type_="check")
    op.create_check_constraint(
        op.f(KIND), "rlhf_erasures", "kind IN ('rater', 'subject', 'retention')"
    )


def downgrade() -> None:
    """The older schema has no place for what retention erased; those entries go."""
    op.execute("DELETE FROM rlhf_erasures WHERE kind = 'retention'")
    op.drop_constraint(op.f(KIND), "rlhf_erasures", type_="check")
    op.create_check_constraint(op.f(KIND), "rlhf_erasures", "kind IN ('rater', 'subject')")
