"""The bodies client applications send today, word for word."""

from typing import Any

import pytest

from shared.db.tables import Feedback, InteractionRecord, Preference

MEDISENSE_FEEDBACK = {
    "feedback_id": "fb_abc123",
    "session_id": "sess_xyz789",
    "agent_name": "prescription_agent",
    "user_query": "Prescribe treatment for hypertension",
    "agent_response": "I recommend …",
    "rating": 5,
    "feedback_type": "positive",
    "clinician_id": 123,
    "timestamp": "2025-01-17T12:00:00Z",
    "comments": "Appropriate first-line treatment",
}
MEDISENSE_PREFERENCE = {
    "prompt": "Prescribe treatment for hypertension",
    "response_a": "I recommend an ACE inhibitor.",
    "response_b": "I recommend rest.",
    "preferred": "a",
}
FOUR_FIELDS = {
    "session_id": "sess_xyz789",
    "agent_name": "prescription_agent",
    "rating": 4,
    "comments": "Helpful",
}
TRACING = {
    "task_id": "trace_001",
    "user_id": "expert_1",
    "model_tracing": {
        "segments": [[0, 0, 0], [1, 1, 1]],
        "confidence": 0.85,
        "completeness": 0.75,
    },
    "human_rating": 0.7,
    "human_correction": {
        "missing_segments": [[3, 3, 3]],
        "incorrect_segments": [],
        "notes": "Missing segment",
    },
    "context": {
        "brain_region": "cerebral_cortex",
        "cell_type": "pyramidal_neurons",
        "complexity": "high",
    },
}
PROOFREADING = {
    "task_id": "proof_001",
    "user_id": "expert_2",
    "model_proofreading": {"errors_found": [[1, 2, 3]], "confidence": 0.9},
    "human_rating": 0.9,
    "human_correction": {
        "missed_errors": [[4, 5, 6]],
        "false_positives": [],
        "better_corrections": [],
    },
    "context": {"brain_region": "hippocampus"},
}
RAG = {
    "task_id": "rag_001",
    "user_id": "expert_3",
    "query": "Which cells project to layer 5?",
    "rag_response": {"response": "Layer 2/3 cells.", "sources": ["a", "b"]},
    "human_rating": 1,
    "human_correction": {
        "improvements": ["cite"],
        "missing_info": [],
        "corrected_response": "Layer 2/3 pyramidal cells.",
    },
    "context": {},
}
CLIMATE_MESSAGE = {"chat_id": "chat_7", "feedback_score": 4}
CLIMATE_STEP = {"chat_id": "chat_7", "step_id": "step_2", "thumbs": "down"}
STEP_1 = {
    "user_prompt": "How do I reset the meter?",
    "ai_response": "Hold the button for five seconds.",
    "rating": 3,
    "feedback_comment": "Add the warning",
}

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        MEDISENSE_FEEDBACK,
        {
            "feedback_id": "fb_abc123",
            "session_id": "sess_xyz789",
            "agent_name": "prescription_agent",
            "user_query": "Prescribe treatment for hypertension",
            "agent_response": "I recommend …",
            "rating": 5,
            "feedback_type": "positive",
            "thumbs": None,
            "comments": "Appropriate first-line treatment",
            "processed": False,
        },
    ),
    (
        TRACING,
        {
            "interaction_id": "trace_001",
            "target": "trace_001",
            "task_type": "tracing",
            "user_query": "task: tracing\nbrain_region: cerebral_cortex\n"
            "cell_type: pyramidal_neurons\ncomplexity: high",
            "agent_response": '{"completeness": 0.75, "confidence": 0.85, '
            '"segments": [[0, 0, 0], [1, 1, 1]]}',
            "structured_response": TRACING["model_tracing"],
            "human_rating": 0.7,
            "rating": None,
            "correction": TRACING["human_correction"],
            "context": TRACING["context"],
        },
    ),
    (
        PROOFREADING,
        {
            "interaction_id": "proof_001",
            "task_type": "proofreading",
            "structured_response": PROOFREADING["model_proofreading"],
            "human_rating": 0.9,
            "correction": PROOFREADING["human_correction"],
        },
    ),
    (
        RAG,
        {
            "task_type": "rag",
            "user_query": "Which cells project to layer 5?",
            "agent_response": '{"response": "Layer 2/3 cells.", "sources": ["a", "b"]}',
            "human_rating": 1.0,
            "corrected_response": "Layer 2/3 pyramidal cells.",
        },
    ),
    (CLIMATE_MESSAGE, {"interaction_id": "chat_7", "rating": 4, "step": "", "step_id": None}),
    (
        CLIMATE_STEP,
        {"interaction_id": "chat_7", "thumbs": "down", "step": "id:step_2", "step_id": "step_2"},
    ),
    (
        STEP_1,
        {
            "user_query": "How do I reset the meter?",
            "agent_response": "Hold the button for five seconds.",
            "rating": 3,
            "comments": "Add the warning",
            "clinician_id": None,
        },
    ),
]


@pytest.mark.parametrize(("sent", "stored"), CASES)
async def test_a_clients_feedback_is_stored_in_the_columns_it_knows(client, rows, sent, stored):
    reply = await client.post("/feedback", json=sent)

    assert reply.status_code == 201, reply.text
    [row] = await rows(Feedback)
    assert {name: getattr(row, name) for name in stored} == stored


async def test_a_clinician_is_stored_under_a_pseudonym(client, rows):
    await client.post("/feedback", json=MEDISENSE_FEEDBACK)

    [row] = await rows(Feedback)
    assert row.clinician_id.startswith("r_")
    assert "123" not in row.clinician_id.removeprefix("r_")[:3]
    assert row.timestamp.isoformat() == "2025-01-17T12:00:00+00:00"


async def test_a_clients_preference_is_stored_in_the_columns_it_knows(client, rows):
    reply = await client.post("/preference", json=MEDISENSE_PREFERENCE)

    assert reply.status_code == 201, reply.text
    [row] = await rows(Preference)
    columns = {name: getattr(row, name) for name in MEDISENSE_PREFERENCE}
    assert columns == MEDISENSE_PREFERENCE
    assert (row.outcome, row.processed) == ("a", False)


async def test_a_step_and_its_message_are_judged_apart(client, rows):
    for sent in (CLIMATE_MESSAGE, CLIMATE_STEP):
        await client.post("/feedback", json=sent | {"user_id": 1})

    assert [row.step for row in await rows(Feedback)] == ["", "id:step_2"]


@pytest.mark.parametrize("carrier", ["json", "params"])
async def test_the_four_fields_join_the_recorded_interaction(client, rows, carrier):
    for number in (1, 2):
        await client.post(
            "/interactions",
            json={
                "interaction_id": f"int_{number}",
                "session_id": "sess_xyz789",
                "agent_name": "prescription_agent",
                "prompt": "p",
                "response": "r",
            },
        )

    reply = await client.post("/feedback", **{carrier: FOUR_FIELDS})

    assert (reply.status_code, reply.json()["state"]) == (201, "live"), reply.text
    [row] = await rows(Feedback)
    assert (row.interaction_id, row.rating, row.comments) == ("int_2", 4, "Helpful")
    assert len(await rows(InteractionRecord)) == 2


async def test_the_four_fields_wait_for_their_interaction(client, rows):
    first = await client.post("/feedback", json=FOUR_FIELDS)
    waiting = [(row.pending, row.interaction_id) for row in await rows(Feedback)]

    await client.post(
        "/interactions",
        json={
            "interaction_id": "int_1",
            "session_id": "sess_xyz789",
            "agent_name": "prescription_agent",
            "user_prompt": "p",
            "ai_response": "r",
        },
    )

    assert (first.status_code, first.json()["state"]) == (201, "pending")
    assert waiting == [(True, None)]
    [row] = await rows(Feedback)
    assert (row.pending, row.interaction_id, row.target) == (False, "int_1", "int_1")
    assert (row.rating, row.comments) == (4, "Helpful")
