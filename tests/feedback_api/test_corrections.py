"""Corrections of every type of task, and what of them becomes the corrected response."""

import pytest

from shared.db.tables import Feedback

POINT, LINE = [1, 2, 3.5], [[0, 0, 0], [1, 1, 1]]
FITTING = [
    ("tracing", {"missing_segments": [POINT, LINE, "seg-9", 12], "notes": "ends too early"}),
    ("tracing", {"missing_segments": [], "incorrect_segments": []}),
    ("proofreading", {"missed_errors": [POINT, "merge", {"kind": "split"}]}),
    ("rag", {"improvements": "cite the source", "missing_info": ["layer 5"]}),
    ("text", {"corrected_response": "Six protons."}),
    ("something_else", {"anything": [1, {"deep": True}]}),
]


@pytest.mark.parametrize(("task_type", "correction"), FITTING)
async def test_a_correction_that_fits_its_task_is_stored_as_it_was_sent(
    client, rows, task_type, correction
):
    body = {"interaction_id": "i", "task_type": task_type, "correction": correction}
    reply = await client.post("/feedback", json=body)

    assert reply.status_code == 201, reply.text
    stored = (await rows(Feedback))[0]
    assert stored.correction == correction
    assert stored.corrected_response == correction.get("corrected_response")


async def test_an_expert_with_nothing_to_correct_may_send_an_empty_correction(client, rows):
    body = {"task_id": "t", "model_tracing": {}, "human_rating": 1, "human_correction": {}}
    reply = await client.post("/feedback", json=body)

    assert reply.status_code == 201, reply.text
    assert (await rows(Feedback))[0].correction is None


async def test_all_that_one_person_thinks_of_a_response_fits_into_one_post(client, rows):
    body = {
        "prompt": "p",
        "response": "Tea boils at 90 °C. 🍵",
        "rater_id": 1,
        "rating": 2,
        "human_rating": 0.4,
        "thumbs": "down",
        "comment": "wrong number",
        "correction": "Water boils at 100 °C.",
        "annotations": [{"start": 13, "end": 18, "label": "wrong", "comment": "100"}],
        "aspects": {"accuracy": 1, "tone": 0.5},
        "implicit": [{"event": "copied", "weight": 0.2}, {"event": "regenerated"}],
    }
    reply = await client.post("/feedback", json=body)

    assert reply.status_code == 201, reply.text
    stored = (await client.get(f"/feedback/{reply.json()['feedback_id']}")).json()
    names = ("rating", "human_rating", "thumbs", "comment", "aspects", "annotations")
    assert {name: stored[name] for name in names} == {name: body[name] for name in names}
    assert stored["corrected_response"] == body["correction"]
    assert [event["event"] for event in stored["implicit"]] == ["copied", "regenerated"]


@pytest.mark.parametrize("order", [["a", "a"], ["a", "c"], ["a", "b", "a"]])
async def test_the_presented_order_names_what_was_shown(client, order):
    pair = {"prompt": "p", "response_a": "x", "response_b": "y", "preferred": "a"}
    reply = await client.post("/preference", json=pair | {"presented_order": order})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["code"] == "presented_ids"
