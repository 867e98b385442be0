"""Bodies shown in the API's description."""

from typing import Any

FEEDBACK: dict[str, Any] = {
    "stars": {
        "summary": "Stars on a prompt and a response",
        "value": {
            "feedback_id": "fb_abc123",
            "session_id": "sess_xyz789",
            "agent_name": "prescription_agent",
            "prompt": "Prescribe treatment for hypertension",
            "response": "I recommend an ACE inhibitor and a follow-up in four weeks.",
            "rating": 5,
            "rater_id": 123,
            "occurred_at": "2025-01-17T12:00:00Z",
            "comment": "Appropriate first-line treatment",
        },
    },
    "thumbs_on_a_step": {
        "summary": "A thumb on one reasoning step of a recorded interaction",
        "value": {"interaction_id": "chat_42", "step": {"step_id": "step_3"}, "thumbs": "down"},
    },
    "structured": {
        "summary": "A rating from 0 to 1 and a correction of a structured response",
        "value": {
            "task_id": "trace_17",
            "user_id": "expert_4",
            "model_tracing": {"segments": [[0, 0, 0], [1, 1, 1]], "confidence": 0.85},
            "human_rating": 0.7,
            "human_correction": {"missing_segments": [[3, 3, 3]], "incorrect_segments": []},
            "context": {"brain_region": "cerebral_cortex", "complexity": "high"},
        },
    },
    "four_fields": {
        "summary": "Feedback on the newest interaction of a session and agent",
        "value": {
            "session_id": "sess_xyz789",
            "agent_name": "climate_agent",
            "rating": 4,
            "comments": "Clear and sourced",
        },
    },
}
PREFERENCE: dict[str, Any] = {
    "pair": {
        "summary": "The better of two responses",
        "value": {
            "prompt": "Explain the greenhouse effect",
            "response_a": "Gases let sunlight in and hold heat back.",
            "response_b": "It is warm because of the sun.",
            "preferred": "a",
        },
    },
    "ranking": {
        "summary": "Several candidates, the best first",
        "value": {
            "prompt": "Explain the greenhouse effect",
            "candidates": [
                {"id": "x", "text": "Gases hold heat back."},
                {"id": "y", "text": "The sun is hot."},
                {"id": "z", "text": "I do not know."},
            ],
            "ranking": ["x", "y", "z"],
        },
    },
}
INTERACTION: dict[str, Any] = {
    "exchange": {
        "summary": "A prompt and the response that was shown",
        "value": {
            "interaction_id": "chat_42",
            "session_id": "sess_xyz789",
            "agent_name": "climate_agent",
            "prompt": "What does carbon pricing change?",
            "response": "It makes emitting cost something.",
            "model_version": "policy-3",
        },
    },
}
STEPS: dict[str, Any] = {
    "steps": {
        "summary": "The steps in order",
        "value": [
            {"id": "step_1", "step_order": 1, "step_content": "Collect price data"},
            {"id": "step_2", "step_order": 2, "step_content": "Compare sectors"},
        ],
    },
}
