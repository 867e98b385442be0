"""Every wrong post is refused with its place, and takes nothing with it."""

import asyncio
import json

import httpx
import pytest

from shared.db.tables import Feedback

BODY = {"prompt": "p", "response": "r"}
RATED = BODY | {"rating": 4}

WRONG_FIELDS = [
    ({"rating": 0}, "/rating", "rating_not_stars"),
    ({"rating": 6}, "/rating", "rating_not_stars"),
    ({"rating": 0.7}, "/rating", "rating_not_stars"),
    ({"rating": "5"}, "/rating", "rating_not_stars"),
    ({"rating": True}, "/rating", "rating_not_stars"),
    ({"feedback_score": 9}, "/feedback_score", "rating_not_stars"),
    ({"human_rating": 1.5}, "/human_rating", "less_than_equal"),
    ({"human_rating": "0.5"}, "/human_rating", "float_type"),
    ({"thumbs": "sideways"}, "/thumbs", "enum"),
    ({"rating": 4, "stars": 3}, "/stars", "extra_forbidden"),
    ({"rating": 4, "user_query": "q"}, "/user_query", "extra_forbidden"),
    ({"rating": 4, "session_id": 5}, "/session_id", "string_type"),
    ({"rating": 4, "session_id": ""}, "/session_id", "string_too_short"),
    ({"rating": 4, "feedback_id": "x" * 256}, "/feedback_id", "string_too_long"),
    ({"rating": 4, "rater_id": 1.5}, "/rater_id", "identity_type"),
    ({"rating": 4, "timestamp": "2025-01-17T12:00:00"}, "/timestamp", "timezone_aware"),
    ({"rating": 4, "timestamp": "0001-01-01T00:00:00Z"}, "/timestamp", "timestamp_range"),
    ({"rating": 4, "consent": {"training": "yes"}}, "/consent/training", "bool_type"),
    ({"rating": 4, "comment": "a\0b"}, "/comment", "unstorable_text"),
    ({"rating": 4, "comment": "\ud800"}, "/comment", "unstorable_text"),
    ({"rating": 4, "context": {"a": ["\0"]}}, "/context", "unstorable_json"),
    ({"rating": 4, "context": {"a\0": 1}}, "/context", "unstorable_json"),
    ({"rating": 4, "context": {"a": "\udc00"}}, "/context", "unstorable_json"),
    ({"rating": 4, "context": {"a": float("nan")}}, "/context", "unstorable_json"),
    ({"rating": 4, "context": {"a": float("inf")}}, "/context", "unstorable_json"),
    ({"rating": 4, "context": {"a": 2**63}}, "/context", "unstorable_json"),
    ({"rating": 4, "consent": {"x": "\0"}}, "/consent/x", "unstorable_json"),
    ({"rating": 4, "step": {"step_content": "x"}}, "/step/step_order", "missing"),
    ({"rating": 4, "rag_response": "x"}, "/response", "two_responses"),
    ({"rating": 4, "annotations": [{"start": 0, "end": 9}]}, "/annotations/0/end", "span_range"),
    ({"rating": 4, "correction": {"x": 1}}, "/correction/x", "unknown_correction"),
    (
        {"task_type": "tracing", "correction": {"missing_segments": [[[1, 2, 3], ["x"]]]}},
        "/correction/missing_segments/0",
        "segment_type",
    ),
    (
        {"task_type": "proofreading", "correction": {"missed_errors": [4]}},
        "/correction/missed_errors/0",
        "remark_type",
    ),
    (
        {"task_type": "rag", "correction": {"improvements": 3}},
        "/correction/improvements",
        "list_type",
    ),
    (
        {"task_type": "other", "correction": {"corrected_response": 3}},
        "/correction/corrected_response",
        "string_type",
    ),
    ({"session_id": "s"}, "", "nothing_said"),
]


@pytest.mark.parametrize(("change", "pointer", "code"), WRONG_FIELDS)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, rows, change, pointer, code):
    content = json.dumps(BODY | change)

    reply = await client.post("/feedback", content=content)

    problem = reply.json()
    assert (reply.status_code, problem["code"]) == (422, "invalid_input"), reply.text
    assert (pointer, code) in [(item["pointer"], item["code"]) for item in problem["errors"]]
    assert reply.headers["content-type"] == "application/problem+json"
    assert await rows(Feedback) == []


async def test_a_fraction_in_rating_is_told_about_human_rating(client):
    reply = await client.post("/feedback", json=BODY | {"rating": 0.7})

    assert "human_rating" in reply.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"rating": 4',
        b'{"prompt": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 5000,
        b'{"rating": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "open", "cut", "not-utf8", "bom", "deep", "huge-number"],
)
async def test_a_body_that_is_not_json_is_malformed(client, content):
    reply = await client.post("/feedback", content=content)

    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"4"])
async def test_json_of_another_kind_is_invalid(client, content):
    reply = await client.post("/feedback", content=content)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")


async def test_an_overflowing_number_is_refused(client):
    content = b'{"prompt": "p", "response": "r", "rating": 4, "context": {"x": 1e400000}}'

    reply = await client.post("/feedback", content=content)

    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (422, "unstorable_json")


async def test_nesting_beyond_the_limit_is_refused(client):
    content = json.dumps(RATED).encode()[:-1] + b', "context": {"x": ' + b"[" * 60 + b"]" * 60
    reply = await client.post("/feedback", content=content + b"}}")

    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (422, "unstorable_json")


async def test_a_body_of_two_megabytes_is_too_large(client):
    reply = await client.post("/feedback", json=RATED | {"comment": "x" * 2_000_000})

    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


async def test_bad_posts_take_no_good_post_with_them(client, rows):
    good = [RATED | {"rater_id": n} for n in range(20)]
    bad = [BODY | change for change, _, _ in WRONG_FIELDS]

    replies = await asyncio.gather(
        *(client.post("/feedback", content=json.dumps(post)) for post in [*bad, *good])
    )

    assert [reply.status_code for reply in replies] == [422] * len(bad) + [201] * 20
    assert len(await rows(Feedback)) == 20


async def test_no_text_of_a_refused_post_is_repeated(client):
    secret = "the patient is called Miller"

    reply = await client.post(
        "/feedback", json={"prompt": secret, "response": secret, "rating": secret}
    )

    assert reply.status_code == 422
    assert "Miller" not in reply.text


@pytest.mark.parametrize(
    "looks_sealed",
    [{"comment": "heed:1:x"}, {"response": {"$sealed": 1}}, {"correction": {"$sealed": ""}}],
    ids=lambda body: next(iter(body)),
)
async def test_a_text_that_looks_encrypted_is_refused(client, looks_sealed):
    body = {"prompt": "p", "response": "r", "task_type": "other", "rating": 4} | looks_sealed

    reply = await client.post("/feedback", json=body)

    assert (reply.status_code, reply.json()["errors"][0]["code"]) == (422, "looks_sealed")


@pytest.mark.parametrize(
    "address", ["/feedback?session_id=%00", "/preference?agent_name=%00", "/feedback/%00"]
)
async def test_an_address_that_postgres_cannot_hold_is_refused(client, address):
    reply = await client.get(address)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
