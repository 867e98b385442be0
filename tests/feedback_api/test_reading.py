"""GET /feedback, /feedback/{id} and /stats/feedback."""

from datetime import UTC, datetime, timedelta

import pytest

BODY = {"prompt": "p", "response": "r", "rating": 4}


async def test_pages_follow_one_another_without_gap_or_repetition(client):
    sent = [f"f{number}" for number in range(7)]
    for feedback_id in sent:
        await client.post("/feedback", json=BODY | {"feedback_id": feedback_id})

    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/feedback", params=params)).json()
        seen += [item["feedback_id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break

    assert seen == sent[::-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_id", "s2"),
        ("agent_name", "b"),
        ("interaction_id", "i2"),
        ("task_type", "rag"),
    ],
)
async def test_a_filter_leaves_only_what_it_names(client, name, value):
    for given in ({}, {name: value}):
        await client.post("/feedback", json=BODY | given)

    page = (await client.get("/feedback", params={name: value})).json()

    assert [item[name] for item in page["items"]] == [value]


async def test_since_leaves_out_what_was_stored_before(client):
    await client.post("/feedback", json=BODY)
    [stored] = (await client.get("/feedback")).json()["items"]
    after = datetime.fromisoformat(stored["created_at"]) + timedelta(microseconds=1)

    found = await client.get("/feedback", params={"since": stored["created_at"]})
    none = await client.get("/feedback", params={"since": after.isoformat()})

    assert (len(found.json()["items"]), none.json()["items"]) == (1, [])


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 101}, {"cursor": "!"}, {"cursor": "AAAA"}, {"since": "2025-01-01"}],
)
async def test_a_wrong_parameter_is_refused(client, params):
    reply = await client.get("/feedback", params=params)

    assert reply.status_code == 422


async def test_one_feedback_is_read_with_its_history_under_either_id(client):
    for feedback_id, stars in (("first", 2), ("second", 5)):
        posted = BODY | {"rating": stars, "rater_id": 7, "feedback_id": feedback_id}
        await client.post("/feedback", json=posted)

    for feedback_id in ("first", "second"):
        read = (await client.get(f"/feedback/{feedback_id}")).json()
        assert (read["feedback_id"], read["rating"]) == ("second", 5)
        assert [old["rating"] for old in read["history"]] == [2]


async def test_an_id_with_slashes_can_be_read(client):
    posted = await client.post("/feedback", json=BODY | {"feedback_id": "a/b c?d"})

    read = await client.get(posted.headers["location"])

    assert read.json()["feedback_id"] == "a/b c?d"


async def test_statistics_judge_tasks_and_agents_on_one_scale(client):
    today = datetime.now(UTC)
    posts = [
        {"model_tracing": {"n": 1}, "human_rating": 0.9},
        {"model_tracing": {"n": 2}, "human_rating": 0.8},
        {"prompt": "p", "response": "r", "agent_name": "doctor", "rating": 5},
        {"prompt": "p", "response": "q", "agent_name": "doctor", "rating": 1},
        {"prompt": "p", "response": "s", "agent_name": "doctor", "thumbs": "down"},
        {"prompt": "p", "response": "t", "agent_name": "doctor", "comment": "no rating"},
    ]
    for post in posts:
        await client.post("/feedback", json=post | {"timestamp": today.isoformat()})

    found = (await client.get("/stats/feedback")).json()

    tracing, doctor = found["tasks"]["tracing_accuracy"], found["agents"]["doctor"]
    assert tracing["average_rating"] == pytest.approx(0.85)
    assert (tracing["total_samples"], tracing["trend"]) == (2, "improving")
    assert doctor["average_rating"] == pytest.approx(1 / 3)
    assert (doctor["total_samples"], doctor["rated_samples"]) == (4, 3)
    assert doctor["trend"] == "needs_attention"
    assert found["rating_distribution"] == {
        "1": 1,
        "2": 0,
        "3": 0,
        "4": 0,
        "5": 1,
        "up": 0,
        "down": 1,
    }
    assert found["volume_per_day"] == [
        {"day": today.date().isoformat(), "feedback": 6, "preferences": 0}
    ]


@pytest.mark.parametrize(
    ("ratings", "direction"),
    [([1, 2, 1, 2, 4, 5, 4, 5], "up"), ([5, 4, 5, 4, 2, 1, 2, 1], "down"), ([3, 4] * 4, "flat")],
)
async def test_the_direction_compares_the_later_half_with_the_earlier(client, ratings, direction):
    start = datetime.now(UTC) - timedelta(days=1)
    for minute, stars in enumerate(ratings):
        at = (start + timedelta(minutes=minute)).isoformat()
        post = {"prompt": "p", "response": f"{minute}", "agent_name": "a", "rating": stars}
        await client.post("/feedback", json=post | {"timestamp": at})

    judged = (await client.get("/stats/feedback")).json()["agents"]["a"]

    low, high = judged["change_interval"]
    assert judged["direction"] == direction
    assert low <= judged["change"] <= high


async def test_statistics_of_nothing_say_so(client):
    found = (await client.get("/stats/feedback")).json()

    assert found["overall"]["total_samples"] == 0
    assert (found["overall"]["average_rating"], found["overall"]["trend"]) == (None, None)
