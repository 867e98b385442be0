"""Whose client a request comes from, as a table: paths that collide, and what tells them apart."""

import pytest

from services.reward_service.config import RewardSettings
from services.reward_service.dialects.telling import Dialect, is_foreign, tell

NATIVE = None
RERANK = {"query": "q", "documents": ["d"]}
TEXTS = {"query": "q", "texts": ["t"]}

TABLE = [
    ("/score", {"inputs": []}, NATIVE),
    ("/score", {"inputs": [], "queries": "q"}, NATIVE),
    ("/score", {}, NATIVE),
    ("/score", {"queries": "q", "documents": ["d"]}, Dialect.VLLM),
    ("/score", {"queries": "q", "items": ["d"]}, Dialect.VLLM),
    ("/score", {"data_1": "q", "data_2": "d"}, Dialect.VLLM),
    ("/score", {"text_1": "q", "text_2": "d"}, Dialect.VLLM),
    ("/classify", {"input": "t"}, NATIVE),
    ("/classify", {"input": "t", "use_activation": False}, NATIVE),
    ("/classify", {"input": ["t"], "raw_scores": False}, Dialect.INFINITY),
    ("/classify", {"text": ["t"]}, Dialect.SGLANG),
    ("/classify", {"text": "t", "input": "t"}, NATIVE),
    ("/rerank", RERANK, NATIVE),
    ("/rerank", {**RERANK, "model": "reward"}, NATIVE),
    ("/rerank", {**RERANK, "model": "reward@3"}, NATIVE),
    ("/rerank", {**RERANK, "model": None}, NATIVE),
    ("/rerank", {**RERANK, "top_n": 3, "return_documents": True}, NATIVE),
    ("/rerank", {**RERANK, "model": "BAAI/bge-reranker-base"}, Dialect.COHERE),
    ("/rerank", {**RERANK, "model": "default/not-specified"}, Dialect.COHERE),
    ("/rerank", {**RERANK, "truncate_prompt_tokens": -1}, Dialect.COHERE),
    ("/rerank", {**RERANK, "use_activation": False}, Dialect.COHERE),
    ("/rerank", {**RERANK, "raw_scores": True}, Dialect.INFINITY),
    ("/rerank", {**RERANK, "raw_scores": True, "return": ["raw"]}, NATIVE),
    ("/rerank", TEXTS, Dialect.TEI),
    ("/rerank", {**TEXTS, "raw_scores": True}, Dialect.TEI),
    ("/rerank", {**TEXTS, "documents": ["d"]}, NATIVE),
    ("/v1/rerank", RERANK, NATIVE),
    ("/v1/rerank", {**RERANK, "model": "reward"}, Dialect.COHERE),
    ("/v1/rerank", {**RERANK, "model": "jina-reranker-v3"}, Dialect.COHERE),
    ("/v1/rerank", {**RERANK, "model": "reward", "return": ["raw"]}, NATIVE),
    ("/v1/rerank", {**RERANK, "weights": {"overall": 1}}, NATIVE),
    ("/v1/rerank", {**RERANK, "raw_scores": False}, Dialect.INFINITY),
    ("/v1/rerank", TEXTS, NATIVE),
    ("/v2/rerank", RERANK, NATIVE),
    ("/v2/rerank", {**RERANK, "model": "rerank-v3.5"}, Dialect.COHERE),
    ("/v2/rerank", {**RERANK, "max_tokens_per_doc": 4096}, Dialect.COHERE),
    ("/v2/rerank", {**RERANK, "model": ["no", "name"]}, NATIVE),
    ("/rerank", ["no", "object"], NATIVE),
    ("/score", "queries", NATIVE),
]


@pytest.mark.parametrize(("path", "body", "expected"), TABLE)
def test_a_body_tells_whose_it_is(path, body, expected):
    assert tell(path, body, RewardSettings()) is expected


@pytest.mark.parametrize("body", [RERANK, {**RERANK, "model": "reward"}])
def test_a_setting_gives_v1_rerank_to_sglang(body):
    settings = RewardSettings(reward_v1_rerank="sglang")

    assert tell("/v1/rerank", body, settings) is Dialect.SGLANG
    assert tell("/rerank", RERANK, settings) is NATIVE
    assert tell("/v1/rerank", {**RERANK, "return": ["raw"]}, settings) is NATIVE


@pytest.mark.parametrize("name", ["BAAI/bge-reranker-base", "rerank-v3.5", "jina-reranker-v3"])
def test_names_of_other_servers_are_foreign(name):
    assert is_foreign(name, RewardSettings())


@pytest.mark.parametrize("name", ["reward", "reward@3", "reward:challenger", "safety.v2"])
def test_names_of_ours_are_not(name):
    assert not is_foreign(name, RewardSettings())


def test_which_names_are_foreign_is_a_setting():
    settings = RewardSettings(reward_foreign_models=["acme-*"])

    assert is_foreign("acme-large", settings)
    assert not is_foreign("rerank-v3.5", settings)
