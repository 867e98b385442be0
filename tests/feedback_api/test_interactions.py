"""POST and GET /interactions and their reasoning steps."""

import asyncio

from shared.db.tables import Feedback, FeedbackHistory, InteractionRecord

SESSION = {"session_id": "s1", "agent_name": "agent"}
EXCHANGE = SESSION | {"interaction_id": "i1", "prompt": "p", "response": "r"}


async def test_a_recorded_interaction_is_read_back(client):
    posted = await client.post("/interactions", json=EXCHANGE | {"context": {"k": 1}})

    read = (await client.get("/interactions/i1")).json()

    assert posted.json() == {"interaction_id": "i1", "id": read["id"], "state": "live"}
    assert (read["prompt"], read["response"], read["context"]) == ("p", "r", {"k": 1})


async def test_an_interaction_is_recorded_once_and_never_changes(client, rows):
    first = await client.post("/interactions", json=EXCHANGE)

    again = await client.post("/interactions", json=EXCHANGE)
    changed = await client.post("/interactions", json=EXCHANGE | {"response": "other"})

    assert (again.status_code, again.json()) == (200, first.json())
    assert (changed.status_code, changed.json()["code"]) == (409, "conflict")
    assert [row.ai_response for row in await rows(InteractionRecord)] == ["r"]


async def test_feedback_may_come_before_its_interaction(client):
    reply = await client.post("/feedback", json={"interaction_id": "later", "rating": 3})

    assert (reply.status_code, reply.json()["state"]) == (201, "live")


async def test_waiting_posts_of_one_rater_become_one_row_with_history(client, rows):
    for stars in (2, 5):
        await client.post("/feedback", json=SESSION | {"rating": stars, "rater_id": 7})

    await client.post("/interactions", json=EXCHANGE)

    [live], [old] = await rows(Feedback), await rows(FeedbackHistory)
    assert (live.rating, live.interaction_id, live.pending) == (5, "i1", False)
    assert (old.rating, old.superseded_by) == (2, live.id)


async def test_feedback_and_its_interaction_sent_at_once_always_meet(client, rows):
    sends = []
    for number in range(20):
        session = {"session_id": f"s{number}", "agent_name": "agent"}
        sends.append(client.post("/feedback", json=session | {"rating": 3}))
        exchange = session | {"interaction_id": f"i{number}", "prompt": "p", "response": "r"}
        sends.append(client.post("/interactions", json=exchange))

    replies = await asyncio.gather(*sends)

    assert {reply.status_code for reply in replies} == {201}
    found = {(row.interaction_id, row.pending) for row in await rows(Feedback)}
    assert found == {(f"i{number}", False) for number in range(20)}


async def test_reasoning_steps_are_recorded_and_read_in_order(client):
    steps = [
        {"id": "b", "step_order": 2, "step_content": "second"},
        {"id": "a", "step_order": 1, "step_content": "first"},
    ]
    first = await client.post("/interactions/i1/steps", json=steps)
    again = await client.post("/interactions/i1/steps", json=steps)
    read = await client.get("/interactions/i1/steps")

    assert (first.status_code, again.status_code) == (201, 200)
    assert [step["step_content"] for step in read.json()] == ["first", "second"]


async def test_a_recorded_step_never_changes(client):
    step = {"step_order": 1, "step_content": "first"}
    await client.post("/interactions/i1/steps", json=step)

    reply = await client.post("/interactions/i1/steps", json=step | {"step_content": "other"})

    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


async def test_an_unknown_interaction_is_not_found(client):
    reply = await client.get("/interactions/nowhere")

    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
