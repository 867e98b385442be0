"""Recorded interactions are numbered as rows of feedback are, so that datasets can name them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLE = "rlhf_interaction_records"
UNIQUE = "uq_rlhf_interaction_records_seq"


def upgrade() -> None:
    next_one = sa.Sequence("rlhf_row_seq").next_value()
    op.add_column(TABLE, sa.Column("seq", sa.BigInteger(), server_default=next_one, nullable=False))
    op.create_unique_constraint(UNIQUE, TABLE, ["seq"])


def downgrade() -> None:
    op.drop_constraint(UNIQUE, TABLE, type_="unique")
    op.drop_column(TABLE, "seq")
