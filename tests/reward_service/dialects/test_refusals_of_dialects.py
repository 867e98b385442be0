"""What goes wrong is said in each dialect's own form, with the status its clients act upon."""

import base64
import json

import httpx
import pytest

from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS

COHERE = ("/v2/rerank", {"model": "rerank-v3.5", "query": PROMPT, "documents": TEXTS})
INFINITY = ("/rerank", {"query": PROMPT, "documents": TEXTS, "raw_scores": False})
TEI = ("/rerank", {"query": PROMPT, "texts": TEXTS})
PREDICT = ("/predict", {"inputs": "a text"})
VLLM = ("/score", {"model": "x/y", "queries": PROMPT, "documents": TEXTS})
VERL = ("/classify", {"model": "x/y", "input": "a text", "use_activation": False})
EMBEDDINGS = ("/v1/embeddings", {"model": "x/y", "input": "a text"})
SGLANG = ("/classify", {"text": "a text"})
OPENRLHF = ("/get_reward", {"query": ["a text"], "prompts": ["a"], "labels": []})
NEMO = ("/reward_model_judge", {"prompts": ["p"], "responses": ["r"]})
ALL = [COHERE, INFINITY, TEI, PREDICT, VLLM, VERL, EMBEDDINGS, SGLANG, OPENRLHF, NEMO]
NUMBERS_ONLY = [TEI, PREDICT, VLLM, VERL, EMBEDDINGS, SGLANG, OPENRLHF, NEMO]


def message_of(reply: httpx.Response) -> str:
    """What the dialect says went wrong, wherever it says it."""
    body = reply.json()
    error = body.get("error", body)
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize(("path", "body"), ALL)
async def test_without_a_key_nobody_is_served(live, path, body):
    reply = await live.post(path, body, authorization="")

    assert reply.status_code == 401
    assert "heed keys create" in message_of(reply) or "key" in message_of(reply).lower()
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("path", "body"), ALL)
@pytest.mark.parametrize("way", ["basic", "x-api-key"])
async def test_a_key_may_come_as_a_password_or_in_its_own_header(live, path, body, way):
    password = base64.b64encode(f"key:{live.key}".encode()).decode()
    headers = {"authorization": f"Basic {password}"}
    if way == "x-api-key":
        headers = {"authorization": "", "x-api-key": live.key}

    reply = await live.post(path, body, **headers)

    assert reply.status_code == 200


@pytest.mark.parametrize("credentials", ["not base64", base64.b64encode(b"a:b").decode()])
async def test_another_password_is_no_key(live, credentials):
    reply = await live.post(*OPENRLHF, authorization=f"Basic {credentials}")

    assert reply.status_code == 401


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/rerank", {"model": "x/y", "query": 5, "documents": TEXTS}, 422),
        ("/rerank", {"raw_scores": True, "query": PROMPT, "documents": []}, 422),
        ("/rerank", {"query": PROMPT, "texts": []}, 422),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 422),
        ("/predict", {"inputs": None}, 422),
        ("/predict", [], 422),
        ("/similarity", {"inputs": {"source_sentence": "a"}}, 422),
        ("/score", {"queries": PROMPT}, 400),
        ("/classify", {"input": [1, 2, 3]}, 400),
        ("/classify", {"input": "a", "messages": [{"role": "user", "content": "b"}]}, 400),
        ("/classify", {"text": []}, 400),
        ("/pooling", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400),
        ("/v1/embeddings", {}, 400),
        ("/v1/rerank", {"query": "", "documents": [{"a": "b"}], "rank_fields": [["a"]]}, 422),
        ("/v1/rerank", {"query": "", "documents": [{"a": "b"}], "rank_fields": ["a"] * 51}, 422),
        ("/get_reward", {"query": ["a", "b"], "prompts": ["a"]}, 422),
        ("/reward_model_judge", {"prompts": ["a"], "responses": ["b", "c"]}, 400),
        (
            "/reward_model_judge",
            {"prompts": ["a"], "responses": ["b"], "format_rewards": [1e308]},
            400,
        ),
    ],
)
async def test_a_wrong_body_is_refused_in_the_form_of_its_dialect(live, path, body, status):
    reply = await live.post(path, body)

    assert reply.status_code == status
    assert message_of(reply)


async def test_each_client_finds_its_own_form(live):
    wrong = {"query": 5}

    cohere = (await live.post("/v2/rerank", {**wrong, "model": "x/y"})).json()
    tei = (await live.post("/rerank", {**wrong, "texts": TEXTS})).json()
    vllm = (await live.post("/score", {"queries": 5})).json()
    sglang = (await live.post("/classify", {"text": 5})).json()

    assert cohere["message"] == cohere["detail"] == cohere["error"]["message"]
    assert tei["error_type"] == "Validation"
    assert vllm["error"]["type"] == "BadRequestError"
    assert vllm["error"]["code"] == 400
    assert sglang["object"] == "error"
    assert sglang["code"] == 400


async def test_half_a_surrogate_pair_is_refused(live):
    content = json.dumps({"prompts": ["a"], "responses": ["\ud800"]})
    headers = {"Content-Type": "application/json"}

    reply = await live.client.http.post("/reward_model_judge", content=content, headers=headers)

    assert reply.status_code == 400


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
async def test_what_cannot_be_read_is_refused_natively_where_paths_are_shared(live, content):
    headers = {"Content-Type": "application/json"}

    shared = await live.client.http.post("/rerank", content=content, headers=headers)
    own = await live.client.http.post("/predict", content=content, headers=headers)

    assert (shared.status_code, shared.json()["code"]) == (400, "malformed_body")
    assert (own.status_code, own.json()["error_type"]) == (422, "Validation")


async def test_a_model_of_ours_that_is_not_there_is_said_in_each_form(live):
    cohere = await live.post("/v2/rerank", {**COHERE[1], "model": "reward@99"})
    vllm = await live.post("/score", {**VLLM[1], "model": "nothing"})
    pinned = await live.post(*TEI, **{"x-heed-model": "reward@99"})

    assert (cohere.status_code, vllm.status_code, pinned.status_code) == (404, 404, 424)
    assert vllm.json()["error"]["type"] == "NotFoundError"
    assert pinned.json()["error_type"] == "Backend"


async def test_a_text_that_must_not_be_cut_is_refused(live):
    long = "word " * 2000

    refused = await live.post("/rerank", {"query": PROMPT, "texts": ["a", long], "truncate": False})
    cut = await live.post("/rerank", {"query": PROMPT, "texts": ["a", long]})

    assert (refused.status_code, refused.json()["error_type"]) == (413, "Validation")
    assert "/texts/1" in refused.json()["error"]
    assert (cut.status_code, cut.headers["x-heed-truncated"]) == (200, "1")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": PROMPT, "texts": ["a"] * 1001}),
        ("/v1/rerank", {"model": "x/y", "query": PROMPT, "documents": ["a"] * 1001}),
        ("/get_reward", {"query": ["a"] * 1001}),
        ("/classify", {"input": ["a" * 100_001]}),
        ("/predict", {"inputs": ["p", "a" * 100_001]}),
        ("/reward_model_judge", {"prompts": ["a" * 100_001], "responses": ["a"]}),
    ],
)
async def test_too_much_at_once_is_refused(live, path, body):
    reply = await live.post(path, body)

    assert reply.status_code == 413
    assert "at most" in message_of(reply)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/rerank", {"query": PROMPT, "documents": [1] * 2000}, "/documents"),
        ("/score", {"inputs": [1] * 2000}, "/inputs"),
        ("/score", {str(at): 1 for at in range(2000)}, "The body"),
        ("/score", {"inputs": [{str(at): 1 for at in range(30)}]}, "/inputs/0"),
        ("/v2/rerank", {**COHERE[1], "documents": [1] * 2000}, "/documents"),
        ("/classify", {"input": [1] * 2000}, "/input"),
        ("/predict", {"inputs": [["a"] * 2000]}, "/inputs/0"),
    ],
)
async def test_a_crowd_is_refused_before_anybody_is_looked_at(live, path, body, where):
    """What is wrong with each of a million items would take seconds to say."""
    reply = await live.post(path, body)

    assert reply.status_code == 413
    assert f"{where} holds" in reply.text


async def test_of_a_conversation_the_first_wrong_message_is_named(live):
    reply = await live.post("/score", {"inputs": [{"messages": [1, 2, 3], "response": "a"}]})

    assert [error["pointer"] for error in reply.json()["errors"]] == ["/inputs/0/messages/0"]


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        (["a"], ["a" * 100_001], "/items/0 has"),
        (["a"] * 1001, ["a"], "/text_1 holds"),
        (["a"], ["a"] * 1001, "/items holds"),
    ],
)
async def test_vllm_names_lists_as_they_were_sent(live, first, second, where):
    reply = await live.post("/v1/score", {"text_1": first, "items": second})

    assert reply.status_code == 413
    assert message_of(reply).startswith(where)


@pytest.mark.parametrize(("path", "body"), [COHERE, INFINITY, TEI])
async def test_a_query_that_is_too_long_is_called_by_its_name(live, path, body):
    reply = await live.post(path, {**body, "query": "a" * 100_001})

    assert reply.status_code == 413
    assert message_of(reply).startswith("/query has 100001 characters")


async def test_without_a_model_numbers_are_not_made_up(serve):
    async with serve() as client:
        numbers = [await client.post(path, json=body) for path, body in NUMBERS_ONLY]
        raw = await client.post(INFINITY[0], json={**INFINITY[1], "raw_scores": True})
        health = await client.get("/health")
        models = await client.get("/v1/models")

    assert {reply.status_code for reply in (*numbers, raw, health)} == {503}
    assert all("promote" in message_of(reply) for reply in (*numbers, raw, health))
    assert all(int(reply.headers["retry-after"]) > 0 for reply in numbers)
    assert models.json()["data"] == []


@pytest.mark.parametrize(("path", "body"), [COHERE, INFINITY])
async def test_without_a_model_an_order_is_kept_and_said_so(serve, path, body):
    async with serve() as client:
        reply = await client.post(path, json={**body, "top_n": 3})

    found = reply.json()
    assert reply.status_code == 200
    assert [(r["index"], r["relevance_score"]) for r in found["results"]] == [
        (0, 0.5),
        (1, 0.5),
        (2, 0.5),
    ]
    assert (found["fallback"], found["model"]) == (True, "none")
    assert found["reason"]
