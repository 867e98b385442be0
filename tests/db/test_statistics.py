"""Postgres samples no free text: what is erased must not stay in the planner's statistics."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from shared.db.tables import Feedback, FeedbackHistory, InteractionRecord, Preference
from shared.ids import new_id

CANARY = "canary"
SAMPLED = text("SELECT schemaname, tablename, attname FROM pg_stats WHERE pg_stats::text ~ :words")


@pytest.fixture
async def rows_with_a_canary_everywhere(sessions):
    """Rows enough for a histogram, each free column of each filled."""
    texts = {"comments": CANARY, "context": {"c": CANARY}, "consent_training": True}
    async with sessions.begin() as session:
        for n in range(40):
            said = {"user_query": CANARY, "agent_response": CANARY, "corrected_response": CANARY}
            said |= {"step_content": CANARY, "structured_response": {"c": CANARY}}
            said |= {"correction": {"c": CANARY}, "annotations": [CANARY], "implicit": [CANARY]}
            version = {"feedback_id": f"f{n}", "target": f"t{n}", "aspects": {CANARY: 1}}
            session.add(Feedback(**texts, **said, **version))
            over = {"seq": n, "superseded_at": datetime.now(UTC), "superseded_by": new_id()}
            session.add(FeedbackHistory(**texts, **said, **version, **over))
            pair = {"prompt": CANARY, "response_a": CANARY, "response_b": CANARY}
            many = {"candidates": [CANARY], "ranking": [CANARY], "reasons": [CANARY]}
            own = {"preference_id": f"p{n}", "target": f"t{n}", "outcome": "tie"}
            session.add(Preference(**texts, **pair, **many, **own, presented_order=[CANARY]))
            exchange = {"user_prompt": CANARY, "ai_response": CANARY}
            without_comments = {name: texts[name] for name in ("context", "consent_training")}
            session.add(InteractionRecord(interaction_id=f"i{n}", **exchange, **without_comments))


async def test_no_free_text_is_in_the_statistics(sessions, rows_with_a_canary_everywhere):
    async with sessions.begin() as session:
        await session.execute(text("ANALYZE"))

        assert (await session.execute(SAMPLED, {"words": CANARY})).all() == []
        assert (await session.execute(SAMPLED, {"words": "f39"})).all() != []


async def test_a_new_month_samples_none_either(sessions):
    count = text(
        "SELECT count(*) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relname ~ '^rlhf_feedback_history_2' AND attname = 'comments' AND attstattarget = 0"
    )
    async with sessions.begin() as session:
        await session.execute(text("SELECT heed_ensure_partitions(5)"))

        assert await session.scalar(count) == 6
