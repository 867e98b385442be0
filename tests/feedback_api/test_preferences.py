"""POST and GET /preference."""

import pytest

from shared.db.tables import Preference, PreferenceHistory

PAIR = {"prompt": "p", "response_a": "one", "response_b": "two"}
CANDIDATES = [{"id": "x", "text": "one"}, {"id": "y", "text": "two"}, {"id": "z", "text": "three"}]


@pytest.mark.parametrize("outcome", ["a", "b", "tie", "both_bad"])
async def test_what_was_said_of_a_pair_is_stored(client, rows, outcome):
    reply = await client.post("/preference", json=PAIR | {"preferred": outcome})

    assert reply.status_code == 201, reply.text
    [row] = await rows(Preference)
    assert row.outcome == outcome
    assert row.preferred == (outcome if outcome in ("a", "b") else None)


async def test_a_ranking_keeps_its_candidates(client, rows):
    body = {"prompt": "p", "candidates": CANDIDATES, "ranking": ["z", "x", "y"], "strength": 2}

    reply = await client.post("/preference", json=body)

    assert reply.status_code == 201, reply.text
    [row] = await rows(Preference)
    assert (row.outcome, row.preferred, row.strength) == ("ranking", None, 2.0)
    assert (row.response_a, row.response_b, row.ranking) == ("one", "two", ["z", "x", "y"])


async def test_a_later_choice_leaves_nothing_of_the_earlier_one(client, rows):
    await client.post(
        "/preference",
        json=PAIR | {"preferred": "a", "strength": 3, "rater_id": 7, "comment": "Clear"},
    )

    reply = await client.post("/preference", json=PAIR | {"preferred": "tie", "rater_id": 7})

    [live], [old] = await rows(Preference), await rows(PreferenceHistory)
    assert reply.status_code == 200
    assert (live.outcome, live.preferred, live.strength) == ("tie", None, None)
    assert (live.comments, old.preferred, old.strength) == ("Clear", "a", 3.0)


async def test_the_same_pair_the_other_way_round_is_the_same_comparison(client, rows):
    await client.post("/preference", json=PAIR | {"preferred": "a", "rater_id": 7})

    swapped = {"prompt": "p", "response_a": "two", "response_b": "one", "preferred": "a"}
    await client.post("/preference", json=swapped | {"rater_id": 7})

    [row] = await rows(Preference)
    assert (row.response_a, row.preferred) == ("two", "a")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (PAIR, "/preferred"),
        (PAIR | {"preferred": "c"}, "/preferred"),
        ({"prompt": "p", "response_a": "one", "preferred": "a"}, "/response_b"),
        ({"response_a": "one", "response_b": "two", "preferred": "a"}, "/prompt"),
        ({"prompt": "p", "candidates": CANDIDATES}, "/ranking"),
        ({"prompt": "p", "candidates": CANDIDATES, "ranking": ["x", "y"]}, "/ranking"),
        ({"prompt": "p", "candidates": CANDIDATES, "ranking": ["x", "y", "y"]}, "/ranking"),
        (PAIR | {"candidates": CANDIDATES, "ranking": ["x", "y", "z"]}, "/candidates"),
        (PAIR | {"preferred": "a", "strength": 4}, "/strength"),
    ],
)
async def test_a_comparison_that_says_nothing_clear_is_refused(client, rows, body, pointer):
    reply = await client.post("/preference", json=body)

    assert reply.status_code == 422
    assert pointer in [item["pointer"] for item in reply.json()["errors"]]
    assert await rows(Preference) == []


async def test_a_comparison_is_read_with_its_history(client):
    for preferred in ("a", "b"):
        posted = PAIR | {"preferred": preferred, "preference_id": "pr_1", "rater_id": 7}
        await client.post("/preference", json=posted)

    read = (await client.get("/preference/pr_1")).json()

    assert (read["preferred"], [old["preferred"] for old in read["history"]]) == ("b", ["a"])
    assert [
        item["preference_id"] for item in (await client.get("/preference")).json()["items"]
    ] == ["pr_1"]
