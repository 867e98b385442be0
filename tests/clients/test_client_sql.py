"""The statements that applications run on the tables and views they know."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel

from shared.db.tables import Feedback, InteractionRecord, Preference, ReasoningStep
from shared.ids import new_id

Sessions = async_sessionmaker[AsyncSession]

NOON = datetime(2025, 1, 17, 12, tzinfo=UTC)
UNPROCESSED_FEEDBACK = """
SELECT feedback_id, session_id, agent_name, user_query, agent_response, rating, feedback_type,
       clinician_id, comments, timestamp, processed
FROM rlhf_feedback WHERE processed = FALSE ORDER BY timestamp
"""
UNPROCESSED_PREFERENCES = """
SELECT preference_id, prompt, response_a, response_b, preferred, clinician_id, timestamp, processed
FROM rlhf_preferences WHERE processed = FALSE AND preferred IN ('a', 'b') ORDER BY timestamp
"""
RATED_INTERACTIONS = """
SELECT id, user_prompt, ai_response, rating, feedback_comment
FROM rlhf_interactions WHERE rating IS NOT NULL
"""
RATED_WELL = "SELECT count(*) FROM rlhf_interactions WHERE rating >= 4"
STEPS = """
SELECT id, chat_id, step_content, step_order, created_at
FROM reasoning_steps WHERE chat_id = $1 ORDER BY step_order
"""
STEP_FEEDBACK = """
SELECT id, chat_id, step_id, feedback_score, thumbs, comment, created_at
FROM chat_feedback WHERE step_id = $1
"""
CHAT_SCORES = """
SELECT step_id IS NULL AS whole_message, avg(feedback_score)::float8 AS average, count(*) AS samples
FROM chat_feedback WHERE chat_id = $1 GROUP BY 1 ORDER BY 1
"""
TASK_STATISTICS = """
SELECT task_type, avg(human_rating) AS average_rating, count(*) AS total_samples
FROM rlhf_feedback WHERE human_rating IS NOT NULL GROUP BY task_type ORDER BY task_type
"""
READY_TASKS = """
SELECT task_type FROM rlhf_feedback GROUP BY task_type HAVING count(*) >= $1 ORDER BY task_type
"""


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """An application's own connection."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def feedback(**changes: Any) -> dict[str, Any]:
    row = {"id": new_id(), "feedback_id": str(new_id()), "target": str(new_id())}
    return row | {"consent_training": True, "timestamp": NOON} | changes


def interaction(interaction_id: str, **changes: Any) -> dict[str, Any]:
    row = {"id": new_id(), "interaction_id": interaction_id, "consent_training": True}
    return row | {"user_prompt": "Why?", "ai_response": "Because."} | changes


async def store(sessions: Sessions, table: type[SQLModel], *rows: dict[str, Any]) -> None:
    async with sessions.begin() as session:
        for row in rows:
            await session.execute(insert(table).values(**row))


async def test_a_clinical_assistant_reads_its_unprocessed_feedback(
    sessions: Sessions, client: asyncpg.Connection
):
    sent = {
        "feedback_id": "fb_abc123",
        "session_id": "sess_xyz789",
        "agent_name": "prescription_agent",
        "user_query": "Prescribe treatment for hypertension",
        "agent_response": "I recommend lisinopril",
        "rating": 5,
        "feedback_type": "positive",
        "clinician_id": "r_123",
        "comments": "Appropriate first-line treatment",
        "timestamp": NOON,
    }
    await store(sessions, Feedback, feedback(**sent), feedback(processed=True))

    rows = await client.fetch(UNPROCESSED_FEEDBACK)

    assert [dict(row) for row in rows] == [sent | {"processed": False}]


async def test_a_clinical_assistant_marks_feedback_processed(
    sessions: Sessions, client: asyncpg.Connection
):
    await store(sessions, Feedback, feedback(feedback_id="fb_1"), feedback(feedback_id="fb_2"))

    done = await client.execute(
        "UPDATE rlhf_feedback SET processed = TRUE WHERE feedback_id = $1", "fb_1"
    )

    assert done == "UPDATE 1"
    rows = await client.fetch(UNPROCESSED_FEEDBACK)
    assert [row["feedback_id"] for row in rows] == ["fb_2"]


async def test_a_clinical_assistant_reads_and_marks_its_preferences(
    sessions: Sessions, client: asyncpg.Connection
):
    sent = {
        "preference_id": "pref_1",
        "prompt": "Which is safer?",
        "response_a": "The first",
        "response_b": "The second",
        "preferred": "b",
        "clinician_id": "r_123",
        "timestamp": NOON,
    }
    row = {"id": new_id(), "target": "t", "consent_training": True, "outcome": "b"} | sent
    tie = {"id": new_id(), "preference_id": "pref_2", "preferred": None, "outcome": "tie"}
    await store(sessions, Preference, row, row | tie | {"clinician_id": "r_7"})

    rows = await client.fetch(UNPROCESSED_PREFERENCES)
    await client.execute(
        "UPDATE rlhf_preferences SET processed = TRUE WHERE preference_id = ANY($1)", ["pref_1"]
    )

    assert [dict(row) for row in rows] == [sent | {"processed": False}]
    assert await client.fetch(UNPROCESSED_PREFERENCES) == []


@pytest.mark.parametrize("rating", [0, 6])
async def test_a_rating_outside_one_to_five_cannot_be_written(
    sessions: Sessions, client: asyncpg.Connection, rating: int
):
    await store(sessions, Feedback, feedback(feedback_id="fb_1", rating=3))

    with pytest.raises(asyncpg.CheckViolationError):
        await client.execute("UPDATE rlhf_feedback SET rating = $1", rating)


async def test_a_preference_for_neither_a_nor_b_cannot_be_written(
    sessions: Sessions, client: asyncpg.Connection
):
    words = {"prompt": "p", "response_a": "a", "response_b": "b", "preferred": "a", "outcome": "a"}
    key = {"id": new_id(), "preference_id": "pref_1", "target": "t", "consent_training": True}
    await store(sessions, Preference, key | words)

    with pytest.raises(asyncpg.CheckViolationError):
        await client.execute("UPDATE rlhf_preferences SET preferred = 'c'")


async def test_rated_interactions_carry_the_latest_stars_and_the_latest_comment(
    sessions: Sessions, client: asyncpg.Connection
):
    rated, unrated = interaction("i_1"), interaction("i_2")
    about = {"interaction_id": "i_1"}
    await store(sessions, InteractionRecord, rated, unrated)
    await store(
        sessions,
        Feedback,
        feedback(**about, rating=2, comments="Old", timestamp=NOON),
        feedback(**about, rating=4, timestamp=NOON + timedelta(hours=2)),
        feedback(**about, comments="New", timestamp=NOON + timedelta(hours=1)),
        feedback(**about, step="s1", rating=1, timestamp=NOON + timedelta(hours=3)),
        feedback(**about, project_id=2, rating=1, timestamp=NOON + timedelta(hours=3)),
    )

    rows = await client.fetch(RATED_INTERACTIONS)

    assert rows == [(rated["id"], "Why?", "Because.", 4, "New")]
    assert await client.fetchval(RATED_WELL) == 1


async def test_an_interaction_without_feedback_is_listed_unrated(
    sessions: Sessions, client: asyncpg.Connection
):
    await store(sessions, InteractionRecord, interaction("i_1"))

    rows = await client.fetch("SELECT rating, feedback_comment FROM rlhf_interactions")

    assert rows == [(None, None)]


async def test_a_chat_application_reads_the_reasoning_steps_in_order(
    sessions: Sessions, client: asyncpg.Connection
):
    step = {"chat_id": "chat_1", "step_content": "Look up the tariff"}
    await store(
        sessions,
        ReasoningStep,
        step | {"id": "s2", "step_order": 2},
        step | {"id": "s1", "step_order": 1},
        step | {"id": "s9", "step_order": 1, "chat_id": "chat_2"},
    )

    rows = await client.fetch(STEPS, "chat_1")

    assert [(row["id"], row["step_order"]) for row in rows] == [("s1", 1), ("s2", 2)]


async def test_a_chat_application_reads_scores_of_steps_and_of_whole_messages(
    sessions: Sessions, client: asyncpg.Connection
):
    chat = {"interaction_id": "chat_1"}
    on_step = feedback(**chat, step="s1", step_id="s1", rating=2, thumbs="down", comments="No")
    await store(sessions, Feedback, on_step, feedback(**chat, rating=5), feedback(**chat, rating=4))

    (row,) = await client.fetch(STEP_FEEDBACK, "s1")
    scores = await client.fetch(CHAT_SCORES, "chat_1")

    assert tuple(row)[:6] == (on_step["id"], "chat_1", "s1", 2, "down", "No")
    assert scores == [(False, 2.0, 1), (True, 4.5, 2)]


async def test_a_tracing_pipeline_averages_ratings_per_task(
    sessions: Sessions, client: asyncpg.Connection
):
    await store(
        sessions,
        Feedback,
        feedback(task_type="tracing", human_rating=0.5),
        feedback(task_type="tracing", human_rating=1.0),
        feedback(task_type="rag", human_rating=0.25),
        feedback(task_type="rag", rating=1),
    )

    assert await client.fetch(TASK_STATISTICS) == [("rag", 0.25, 1), ("tracing", 0.75, 2)]
    assert await client.fetch(READY_TASKS, 2) == [("rag",), ("tracing",)]


async def test_a_rated_exchange_that_nobody_recorded_is_a_rated_interaction_too(
    sessions: Sessions, client: asyncpg.Connection
):
    exchange = {"user_query": "Why?", "agent_response": "Because."}
    await store(
        sessions, Feedback, feedback(feedback_id="alone", rating=4, comments="Short.", **exchange)
    )
    await store(sessions, Feedback, feedback(interaction_id="known", rating=5, **exchange))
    await store(sessions, InteractionRecord, interaction("known"))

    rows = await client.fetch(
        "SELECT interaction_id, rating, feedback_comment FROM rlhf_interactions ORDER BY 1"
    )

    assert [tuple(row) for row in rows] == [("alone", 4, "Short."), ("known", 5, None)]
