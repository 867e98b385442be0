"""`/score` and `/rerank` over real HTTP with real models."""

import json
import uuid

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


async def test_without_a_model_rerank_keeps_the_order_and_says_so(serve):
    async with serve() as client:
        reply = await client.rerank("b", "a", "c", top_n=2)

    body = reply.json()
    assert reply.status_code == 200
    assert body["fallback"] is True
    assert "promote" in body["reason"]
    assert body["model"] is None
    assert body["results"] == [
        {"index": 0, "relevance_score": 0.5},
        {"index": 1, "relevance_score": 0.5},
    ]


async def test_without_a_model_score_gives_null_for_each_input(serve):
    inputs = [{"prompt": "p", "response": "r"}] * 2

    async with serve() as client:
        reply = await client.post("/score", json={"inputs": inputs})

    body = reply.json()
    assert reply.status_code == 200
    assert (body["model"], body["fallback"]) == (None, True)
    assert [result["score"] for result in body["results"]] == [None, None]


async def test_rerank_puts_the_better_response_first(serve, deployment, kind_model, sample):
    version = await deployment.register(kind_model)
    await deployment.promote(version)
    async with serve() as client:
        await client.until_live(1)
        reply = await client.rerank(sample.rude, sample.kind)

    body = reply.json()
    assert [result["index"] for result in body["results"]] == [1, 0]
    assert body["results"][0]["relevance_score"] > body["results"][1]["relevance_score"]
    assert body["model"] == {"name": "reward", "version": 1, "sha256": version.sha256}
    assert "fallback" not in body
    assert uuid.UUID(body["decision_id"].removeprefix("dec_")).version == 7


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_come_back_with_their_extra_fields(serve, live_kind, sample, path):
    documents = [sample.rude, {"text": sample.kind, "id": 7, "tags": ["x"]}]
    body = {"query": sample.prompt, "documents": documents, "top_n": 1, "return_documents": True}

    async with serve() as client:
        reply = await client.post(path, json=body)

    (result,) = reply.json()["results"]
    assert result["document"] == {"text": sample.kind, "id": 7, "tags": ["x"]}


async def test_equal_documents_keep_their_order(serve, live_kind, sample):
    async with serve() as client:
        reply = await client.rerank(*[sample.kind] * 5)

    assert [result["index"] for result in reply.json()["results"]] == [0, 1, 2, 3, 4]


async def test_scores_keep_the_order_of_the_inputs(serve, live_kind, sample):
    inputs = [
        {"prompt": sample.prompt, "response": text} for text in (sample.kind, sample.rude) * 3
    ]

    async with serve() as client:
        reply = await client.post("/score", json={"inputs": inputs, "return": ["raw"]})

    scores = [result["score"] for result in reply.json()["results"]]
    raws = [result["raw"] for result in reply.json()["results"]]
    assert all(good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True))
    assert all(0 <= score <= 1 for score in scores)
    assert sorted(scores) == [score for _, score in sorted(zip(raws, scores, strict=True))]
    assert reply.json()["usage"]["tokens"] > 0


async def test_a_score_is_that_of_the_engine_alone_or_in_any_batch(
    serve, live_kind, kind_scorer, sample
):
    texts = [f"{sample.kind} {'word ' * length}" for length in range(0, 120, 7)]
    inputs = [{"prompt": sample.prompt, "response": text} for text in texts]
    expected = kind_scorer(sample.prompt, texts)

    async with serve() as client:
        together = await client.post("/score", json={"inputs": inputs, "return": ["raw"]})
        alone = [
            await client.post("/score", json={"inputs": [item], "return": ["raw"]})
            for item in inputs
        ]

    assert [r["raw"] for r in together.json()["results"]] == pytest.approx(expected, abs=1e-5)
    assert [a.json()["results"][0]["raw"] for a in alone] == pytest.approx(expected, abs=1e-5)


async def test_a_lone_user_message_is_the_same_as_a_prompt(serve, live_kind, sample):
    message = {"role": "user", "content": sample.prompt}
    inputs = [
        {"prompt": sample.prompt, "response": sample.kind},
        {"messages": [message], "response": sample.kind},
        {"messages": [{"role": "system", "content": "Be brief."}, message], "response": "Rest."},
    ]

    async with serve() as client:
        results = (await client.post("/score", json={"inputs": inputs})).json()["results"]

    assert results[0] == results[1]
    assert results[2]["score"] is not None


async def test_a_text_longer_than_the_model_reads_is_reported(serve, live_kind, sample):
    inputs = [
        {"prompt": sample.prompt, "response": text} for text in ("short", "long word " * 2000)
    ]

    async with serve() as client:
        results = (await client.post("/score", json={"inputs": inputs})).json()["results"]

    assert [result["truncated"] for result in results] == [False, True]


WRONG_BODIES = [
    ("/score", {"inputs": []}, "/inputs"),
    ("/score", {}, "/inputs"),
    ("/score", {"inputs": [{"response": "r"}]}, "/inputs/0"),
    ("/score", {"inputs": [{"prompt": 1, "response": "r"}]}, "/inputs/0/prompt"),
    ("/score", {"inputs": [{"prompt": "p", "response": "\ud800"}]}, "/inputs/0/response"),
    ("/score", {"inputs": [{"messages": [], "response": "r"}]}, "/inputs/0/messages"),
    ("/score", {"inputs": [{"prompt": "p", "response": "r"}], "modle": "x"}, "/modle"),
    ("/score", {"inputs": [{"prompt": "p", "response": "r"}], "return": ["all"]}, "/return/0"),
    ("/rerank", {"query": "q", "documents": []}, "/documents"),
    ("/rerank", {"query": "q", "documents": ["a"], "weights": {"overall": 0}}, "/weights"),
    (
        "/rerank",
        {"query": "q", "documents": ["a"], "weights": {"overall": 101}},
        "/weights/overall",
    ),
    ("/rerank", {"query": "q", "documents": [{"body": "x"}]}, "/documents/0/text"),
    ("/rerank", {"query": "q", "documents": ["a", 5]}, "/documents/1"),
    ("/rerank", {"query": "q", "documents": ["a"], "top_n": -1}, "/top_n"),
    ("/rerank", {"documents": ["a"]}, "/query"),
]


async def test_a_wrong_body_is_refused_at_its_wrong_place(serve):
    async with serve() as client:
        replies = [
            await client.post(path, content=json.dumps(body), headers=JSON)
            for path, body, _ in WRONG_BODIES
        ]

    pointers = [{error["pointer"] for error in reply.json()["errors"]} for reply in replies]
    assert {reply.status_code for reply in replies} == {422}
    assert {reply.headers["content-type"] for reply in replies} == {"application/problem+json"}
    assert [
        row for row, found in zip(WRONG_BODIES, pointers, strict=True) if row[2] not in found
    ] == []


async def test_a_body_that_is_no_json_in_utf_8_is_refused(serve):
    broken = [b"{", b'{"query": "\xff\xfe", "documents": ["a"]}']

    async with serve() as client:
        replies = [await client.post("/rerank", content=body, headers=JSON) for body in broken]

    assert [reply.status_code for reply in replies] == [400, 400]
    assert {reply.json()["code"] for reply in replies} == {"malformed_body"}


async def test_too_much_text_is_refused(serve):
    async with serve(reward_max_texts=3, reward_max_text_chars=10) as client:
        body = await client.post("/rerank", content=b"x" * 2_000_000)
        many = await client.rerank("a", "a", "a", "a", query="q")
        long = await client.rerank("a", "a" * 11, query="q")
        query = await client.rerank("a", query="q" * 11)

    assert [reply.status_code for reply in (body, many, long, query)] == [413] * 4
    assert long.json()["errors"][0]["pointer"] == "/documents/1"
    assert query.json()["errors"][0]["pointer"] == "/query"


async def test_an_unknown_model_is_not_found(serve):
    names = ["other", "reward@1", "reward:challenger", "no such name", "reward@99999999999", "@"]

    async with serve() as client:
        replies = [await client.rerank("a", model=name) for name in names]

    assert [reply.status_code for reply in replies] == [404] * len(names)
    assert {reply.json()["code"] for reply in replies} == {"unknown_model"}


async def test_a_version_or_alias_can_be_asked_for(
    serve, deployment, kind_model, rude_model, sample
):
    await deployment.promote(await deployment.register(kind_model))
    await deployment.promote(await deployment.register(rude_model), alias="challenger")

    async with serve() as client:
        replies = [
            await client.rerank(sample.rude, sample.kind, model=model)
            for model in (None, "reward", "reward@1", "reward@2", "reward:challenger")
        ]

    first = [reply.json()["results"][0]["index"] for reply in replies]
    assert first == [1, 1, 1, 0, 0]
    assert [reply.json()["model"]["version"] for reply in replies] == [1, 1, 1, 2, 2]


async def test_another_project_does_not_see_the_model(serve, deployment, live_kind, sample):
    token = await deployment.key("score", project_id=2)

    async with serve() as client:
        client.http.headers["Authorization"] = f"Bearer {token}"
        reply = await client.rerank(sample.rude, sample.kind)
        pinned = await client.rerank(sample.rude, sample.kind, model="reward@1")

    assert reply.json()["fallback"] is True
    assert pinned.status_code == 404


async def test_keys_decide_who_may_score(serve, deployment):
    wrong = {"no key": "", "unknown": "Bearer heed_0123456789ab_secret", "strange": "Bearer x"}
    other = await deployment.key("feedback:write", "models")
    body = {"query": "q", "documents": ["a"]}

    async with serve() as client:
        refused = [
            await client.post("/rerank", json=body, headers={"Authorization": value})
            for value in wrong.values()
        ]
        scope = await client.post(
            "/rerank", json=body, headers={"Authorization": f"Bearer {other}"}
        )
        client.http.headers["X-API-Key"] = client.http.headers.pop("Authorization")[7:]
        header = await client.rerank("a")

    assert [reply.status_code for reply in refused] == [401] * 3
    assert scope.status_code == 403
    assert "score" in scope.json()["detail"]
    assert header.status_code == 200


async def test_metrics_and_health_need_no_key(serve, live_kind, sample):
    async with serve() as client:
        await client.rerank(sample.kind)
        async with httpx.AsyncClient(base_url=client.http.base_url) as anyone:
            metrics = await anyone.get("/metrics")
            health = await anyone.get("/healthz")
            live = await anyone.get("/models/live")

    assert "heed_reward_batch_tokens_count 1.0" in metrics.text
    assert sample.kind not in metrics.text
    assert (health.status_code, live.status_code) == (200, 401)
