"""Which version scores is asked for, and told, in a header; and what that costs."""

import re

HEADER = "X-Heed-Model"


async def test_the_version_that_scored_is_named_in_a_header(serve, live_kind, sample):
    inputs = [{"prompt": sample.prompt, "response": sample.kind}]

    async with serve() as client:
        ranked = await client.rerank(sample.rude, sample.kind)
        scored = await client.post("/score", json={"inputs": inputs})

    assert [reply.headers[HEADER] for reply in (ranked, scored)] == ["reward@1", "reward@1"]


async def test_a_reply_without_a_model_names_none(serve):
    async with serve() as client:
        reply = await client.rerank("a", "b")

    assert HEADER not in reply.headers


async def test_a_header_pins_the_version_whatever_the_body_says(
    serve, deployment, both_models, sample
):
    for folder in both_models:
        await deployment.promote(await deployment.register(folder))
    inputs = [{"prompt": sample.prompt, "response": sample.kind}]

    async with serve() as client:
        live = await client.rerank(sample.rude, sample.kind)
        client.http.headers[HEADER] = "reward@1"
        pinned = await client.rerank(sample.rude, sample.kind)
        against_the_body = await client.rerank(sample.rude, sample.kind, model="reward@2")
        scored = await client.post("/score", json={"inputs": inputs})
        client.http.headers[HEADER] = "reward@7"
        unknown = await client.rerank("a")

    replies = (live, pinned, against_the_body, scored)
    assert [reply.headers[HEADER] for reply in replies] == ["reward@2", *["reward@1"] * 3]
    assert [reply.json()["model"]["version"] for reply in replies] == [2, 1, 1, 1]
    assert [reply.json()["results"][0]["index"] for reply in replies[:3]] == [0, 1, 1]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_model")


async def test_a_prompt_is_encoded_once_however_its_candidates_are_cut_up(serve, live_kind, sample):
    documents = [f"{sample.kind} {number}" * 3 for number in range(60)]

    async with serve(reward_batch_tokens=256) as client:
        await client.until_live(1)
        before = await encoded(client)
        await client.rerank(*documents, query=f"{sample.prompt} " * 10)
        once = await encoded(client)
        await client.rerank(*documents[:10], query=f"{sample.prompt} " * 10)
        again = await encoded(client)
        metrics = (await client.get("/metrics")).text

    assert once - before == 61
    assert again == once
    assert value(metrics, "heed_reward_batch_tokens_count") > 10
    assert value(metrics, "heed_reward_cache_hits_total") >= 11
    assert value(metrics, "heed_reward_cache_bytes") > 61 * 3 * 384 * 4


async def test_a_service_that_remembers_nothing_scores_the_same(serve, live_kind, sample):
    async with serve() as client:
        remembered = [await client.rerank(sample.rude, sample.kind) for _ in range(2)]
    async with serve(reward_cache_bytes=0) as client:
        forgotten = [await client.rerank(sample.rude, sample.kind) for _ in range(2)]
        metrics = (await client.get("/metrics")).text

    scores = [
        [result["relevance_score"] for result in reply.json()["results"]]
        for reply in remembered + forgotten
    ]
    assert max(abs(a - b) for each in scores for a, b in zip(each, scores[0], strict=True)) < 1e-6
    assert value(metrics, "heed_reward_cache_bytes") == 0


async def encoded(client) -> float:
    """Texts that went through the encoder."""
    return value((await client.get("/metrics")).text, "heed_reward_cache_misses_total")


def value(metrics: str, name: str) -> float:
    (found,) = re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE)
    return float(found)
