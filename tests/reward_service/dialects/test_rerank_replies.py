"""Re-ranking in every shape: order, numbers, documents, how many, usage."""

import pytest

from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS

BODY = {"query": PROMPT, "documents": TEXTS}
FOREIGN = {**BODY, "model": "rerank-v3.5"}


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_cohere_jina_and_vllm_find_what_each_of_them_reads(live, near, path):
    reply = await live.post(path, FOREIGN)

    body = reply.json()
    assert reply.status_code == 200
    assert [result["index"] for result in body["results"]] == live.order
    assert [result["relevance_score"] for result in body["results"]] == near(
        [live.scores[at] for at in live.order]
    )
    assert body["model"] == "reward@1"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert body["meta"]["billed_units"] == {"search_units": 1}
    assert body["id"] == body["decision_id"]
    assert reply.headers["x-heed-model"] == "reward@1"
    assert reply.headers["x-heed-truncated"] == "0"


async def test_the_native_shape_is_what_it_was_beside_them(live):
    reply = await live.post("/v1/rerank", BODY)

    body = reply.json()
    assert body["model"]["name"] == "reward"
    assert body["results"][0].keys() == {"index", "relevance_score"}


@pytest.mark.parametrize(
    ("path", "asked", "shown"),
    [
        ("/v1/rerank", {}, True),
        ("/v1/rerank", {"return_documents": False}, False),
        ("/v2/rerank", {}, False),
        ("/v2/rerank", {"return_documents": True}, True),
    ],
)
async def test_documents_are_shown_as_each_version_does(live, path, asked, shown):
    reply = await live.post(path, {**FOREIGN, **asked})

    first = reply.json()["results"][0]
    assert ("document" in first) is shown
    assert first.get("document", {"text": TEXTS[first["index"]]}) == {"text": TEXTS[first["index"]]}


@pytest.mark.parametrize(("top_n", "expected"), [(0, 4), (2, 2), (9, 4), (None, 4)])
async def test_top_n_of_nothing_means_all(live, top_n, expected):
    reply = await live.post("/v2/rerank", {**FOREIGN, "top_n": top_n})

    assert len(reply.json()["results"]) == expected


async def test_vllm_gets_raw_rewards_without_activation(live, near):
    reply = await live.post("/rerank", {**FOREIGN, "use_activation": False})

    assert [result["relevance_score"] for result in reply.json()["results"]] == near(
        [live.raws[at] for at in live.order]
    )


async def test_cohere_ranks_by_the_fields_it_is_told(live, near):
    documents = [{"title": "No.", "body": text, "id": at} for at, text in enumerate(TEXTS)]
    reply = await live.post(
        "/v1/rerank", {**FOREIGN, "documents": documents, "rank_fields": ["body"]}
    )

    first = reply.json()["results"][0]
    assert first["relevance_score"] == near(max(live.scores))
    assert first["document"]["id"] == first["index"]


@pytest.mark.parametrize(("raw", "numbers"), [(True, "raws"), (False, "scores")])
async def test_infinity_is_told_by_raw_scores(live, near, raw, numbers):
    reply = await live.post(
        "/rerank", {**BODY, "raw_scores": raw, "return_documents": True, "top_n": 3}
    )

    body = reply.json()
    assert body["object"] == "rerank"
    assert [result["document"] for result in body["results"]] == [
        TEXTS[at] for at in live.order[:3]
    ]
    assert [result["relevance_score"] for result in body["results"]] == near(
        [getattr(live, numbers)[at] for at in live.order[:3]]
    )


@pytest.mark.parametrize(("raw", "numbers"), [(True, "raws"), (False, "scores")])
async def test_tei_is_told_by_texts_and_gets_a_bare_list(live, near, raw, numbers):
    reply = await live.post(
        "/rerank", {"query": PROMPT, "texts": TEXTS, "raw_scores": raw, "return_text": True}
    )

    assert [rank["index"] for rank in reply.json()] == live.order
    assert [rank["text"] for rank in reply.json()] == [TEXTS[at] for at in live.order]
    assert [rank["score"] for rank in reply.json()] == near(
        [getattr(live, numbers)[at] for at in live.order]
    )


async def test_tei_says_what_scoring_took_in_headers(live):
    reply = await live.post("/rerank", {"query": PROMPT, "texts": TEXTS})

    characters = sum(len(PROMPT) + len(text) for text in TEXTS)
    assert reply.headers["x-compute-characters"] == str(characters)
    assert int(reply.headers["x-compute-tokens"]) > 0
    assert int(reply.headers["x-total-time"]) >= 0
    assert "text" not in reply.json()[0]


async def test_equal_texts_keep_their_order_in_every_shape(live):
    texts = [TEXTS[1]] * 5

    tei = await live.post("/rerank", {"query": PROMPT, "texts": texts})
    cohere = await live.post("/v2/rerank", {**FOREIGN, "documents": texts})

    assert [rank["index"] for rank in tei.json()] == list(range(5))
    assert [result["index"] for result in cohere.json()["results"]] == list(range(5))


async def test_sglang_gets_a_bare_list_by_setting(serve, live_kind, live, near):
    async with serve(reward_v1_rerank="sglang") as client:
        await client.until_live(1)
        reply = await client.post("/v1/rerank", json={**BODY, "model": "x/y", "top_n": 2})
        bare = await client.post("/v1/rerank", json={**BODY, "return_documents": False})

    assert [item["index"] for item in reply.json()] == live.order[:2]
    assert [item["score"] for item in reply.json()] == near(
        [live.scores[at] for at in live.order[:2]]
    )
    assert reply.json()[0]["document"] == TEXTS[live.order[0]]
    assert reply.json()[0]["meta_info"]["prompt_tokens"] > 0
    assert bare.json()[0]["document"] is None
