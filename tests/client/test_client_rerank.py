"""Candidates are ordered by the live model, and keep their order without one."""

import asyncio
import json
from contextlib import closing

import pytest

from heed_client import HeedMisuse, rerank
from heed_client.rerank import AsyncReranker, Reranker
from tests.reward_service.conftest import (
    deployment,
    kind_model,
    live_kind,
    sample,
    serving,
)

__all__ = ["deployment", "kind_model", "live_kind", "sample"]
NOWHERE = "http://127.0.0.1:9"


async def until_ready(reranker: AsyncReranker) -> None:
    async with asyncio.timeout(60):
        while not await reranker.is_model_ready():  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)


async def test_without_a_model_the_order_is_kept_and_said_so(deployment):
    key = await deployment.key("score")
    async with serving(deployment.settings) as url:
        reranker = AsyncReranker(url, api_key=key, timeout_s=30)
        ranked = await reranker.rerank("Why?", ["one", {"text": "two", "id": 2}, ("three", 0.1)])
        is_ready = await reranker.is_model_ready()
        await reranker.close()

    assert ranked == [
        {"text": "one", "score": 0.5},
        {"text": "two", "id": 2, "score": 0.5},
        {"text": "three", "score": 0.5},
    ]
    assert (ranked.fallback, ranked.model, is_ready) == (True, None, False)
    assert ranked.reason
    assert ranked.decision_id


@pytest.mark.slow
async def test_with_a_model_the_best_comes_first(deployment, live_kind, sample, monkeypatch):
    key = await deployment.key("score")
    async with serving(deployment.settings) as url:
        reranker = AsyncReranker(url, api_key=key, timeout_s=30)
        await until_ready(reranker)
        candidates = [{"response": sample.rude, "source": "a"}, sample.kind]
        ranked = await reranker.rerank(sample.prompt, candidates)
        await reranker.close()
        monkeypatch.setenv("HEED_REWARD_URL", url)
        monkeypatch.setenv("HEED_API_KEY", key)
        best = await rerank.rerank_candidates_async(sample.prompt, candidates, top_k=1)
        is_ready = await rerank.is_model_ready_async()
        rerank._from_environment().close()
        rerank._from_environment.cache_clear()

    assert [candidate["text"] for candidate in ranked] == [sample.kind, sample.rude]
    assert ranked[1]["source"] == "a"
    assert ranked[0]["score"] > ranked[1]["score"]
    assert (ranked.model, ranked.fallback) == ("reward@1", False)
    assert [candidate["text"] for candidate in best] == [sample.kind]
    assert is_ready


def test_a_service_that_is_away_costs_the_order_and_not_the_response():
    reranker = Reranker(NOWHERE, api_key="key", timeout_s=0.2)

    ranked = reranker.rerank("Why?", ["one", "two"], top_k=1)

    assert ranked == [{"text": "one", "score": 0.5}]
    assert ranked.fallback
    assert not reranker.is_model_ready()


@pytest.mark.parametrize("named", [[0], [0, 2], [0, 0], [-1, 0]])
def test_an_order_of_other_candidates_counts_as_none(scripted, named):
    results = [{"index": index, "relevance_score": 0.9} for index in named]
    other = scripted((200, {}, json.dumps({"results": results}).encode()))

    with closing(Reranker(other.url, api_key="key")) as reranker:
        ranked = reranker.rerank("Why?", ["one", "two"])

    assert [candidate["text"] for candidate in ranked] == ["one", "two"]
    assert ranked.fallback


def test_no_candidates_need_no_service():
    assert Reranker(NOWHERE, api_key="key").rerank("Why?", []) == []


@pytest.mark.parametrize("candidate", [{"title": "no text"}, [], 7, b"bytes"])
def test_a_candidate_without_a_text_is_a_mistake_of_the_caller(candidate):
    with pytest.raises(HeedMisuse, match="candidate"):
        Reranker(NOWHERE, api_key="key").rerank("Why?", [candidate])
