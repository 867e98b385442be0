"""Rows kept long enough are erased like a person's; Postgres keeps no samples of texts.

The planner's statistics hold frequent values and histogram bounds of a column, which an erased
row would stay in. Nothing compares free texts, so nothing is lost without them. Giving a column
its own type again drops what was collected so far, and rewrites nothing.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KIND = "ck_rlhf_erasures_kind_known"
POSTS = {
    "feedback": (
        ("user_query", "agent_response", "step_content", "comments", "corrected_response"),
        ("context", "structured_response", "correction", "annotations", "aspects", "implicit"),
    ),
    "preferences": (
        ("prompt", "response_a", "response_b", "comments"),
        ("context", "candidates", "ranking", "presented_order", "reasons"),
    ),
}
FREE = {
    **{f"rlhf_{name}{history}": POSTS[name] for name in POSTS for history in ("", "_history")},
    "rlhf_interaction_records": (
        ("user_prompt", "ai_response"),
        ("context", "structured_response"),
    ),
    "reasoning_steps": (("step_content",), ()),
}


def upgrade() -> None:
    op.drop_constraint(op.f(KIND), "rlhf_erasures", type_="check")
    op.create_check_constraint(
        op.f(KIND), "rlhf_erasures", "kind IN ('rater', 'subject', 'retention')"
    )
    for table, (texts, documents) in FREE.items():
        _alter(table, [(name, "TYPE varchar") for name in texts])
        _alter(table, [(name, "TYPE jsonb") for name in documents])
        _alter(table, [(name, "SET STATISTICS 0") for name in (*texts, *documents)])


def downgrade() -> None:
    """The older schema has no place for what retention erased; those entries go."""
    for table, (texts, documents) in FREE.items():
        _alter(table, [(name, "SET STATISTICS -1") for name in (*texts, *documents)])
    op.execute("DELETE FROM rlhf_erasures WHERE kind = 'retention'")
    op.drop_constraint(op.f(KIND), "rlhf_erasures", type_="check")
    op.create_check_constraint(op.f(KIND), "rlhf_erasures", "kind IN ('rater', 'subject')")


def _alter(table: str, changes: list[tuple[str, str]]) -> None:
    if changes:
        said = ", ".join(f"ALTER COLUMN {column} {change}" for column, change in changes)
        op.execute(f"ALTER TABLE {table} {said}")
