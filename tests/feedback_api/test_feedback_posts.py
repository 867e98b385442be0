"""POST /feedback: one post, one row, one target."""

import httpx

from shared.db.tables import Feedback, FeedbackHistory

BODY = {"prompt": "What is carbon?", "response": "An element.", "rater_id": 7}


async def test_a_post_is_stored_and_told_under_which_id(client: httpx.AsyncClient, rows):
    reply = await client.post("/feedback", json=BODY | {"rating": 4, "comment": "Right"})

    assert reply.status_code == 201, reply.text
    [row] = await rows(Feedback)
    assert reply.json() == {"feedback_id": row.feedback_id, "id": str(row.id), "state": "live"}
    assert (row.user_query, row.agent_response) == ("What is carbon?", "An element.")
    assert (row.rating, row.comments, row.processed) == (4, "Right", False)


async def test_a_changed_rating_leaves_one_live_row_and_its_history(client, rows):
    await client.post("/feedback", json=BODY | {"rating": 4})

    reply = await client.post("/feedback", json=BODY | {"rating": 1})

    assert reply.status_code == 200
    assert [row.rating for row in await rows(Feedback)] == [1]
    assert [row.rating for row in await rows(FeedbackHistory)] == [4]
