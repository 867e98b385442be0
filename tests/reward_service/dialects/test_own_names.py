"""Under its own name each dialect has all its paths, and nothing is told apart by the body."""

import pytest

from tests.reward_service.conftest import PROMPT
from tests.reward_service.dialects.conftest import TEXTS

RERANK = {"query": PROMPT, "documents": TEXTS}


async def test_infinity_needs_no_raw_scores_to_be_known(live):
    reply = await live.post(
        "/infinity/rerank", {**RERANK, "model": "x/y", "return_documents": True}
    )

    assert reply.json()["results"][0]["document"] == TEXTS[live.order[0]]


async def test_sglang_needs_no_setting(live):
    reply = await live.post("/sglang/v1/rerank", {**RERANK, "model": "x/y"})

    assert [item["index"] for item in reply.json()] == live.order


@pytest.mark.parametrize("path", ["/cohere/v2/rerank", "/vllm/rerank", "/vllm/v1/rerank"])
async def test_a_model_of_ours_needs_no_foreign_name(live, path):
    reply = await live.post(path, {**RERANK, "model": "reward@1"})

    assert reply.json()["model"] == "reward@1"
    assert [result["index"] for result in reply.json()["results"]] == live.order


async def test_what_tells_another_dialect_tells_nothing_there(live, near):
    reply = await live.post("/vllm/classify", {"input": TEXTS, "raw_scores": True})
    wrong = await live.post("/tei/rerank", RERANK)

    assert len(reply.json()["data"]) == len(TEXTS)
    assert (wrong.status_code, wrong.json()["error_type"]) == (422, "Validation")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tei/", {"inputs": "a"}),
        ("/tei/predict", {"inputs": "a"}),
        ("/vllm/score", {"queries": "a", "documents": "b"}),
        ("/vllm/pooling", {"input": "a"}),
        ("/vllm/v1/embeddings", {"input": "a"}),
        ("/verl/classify", {"input": "a", "use_activation": False}),
        ("/verl/v1/embeddings", {"input": "a"}),
        ("/sglang/classify", {"text": "a"}),
        ("/sglang/v1/classify", {"input": "a"}),
        ("/openrlhf/get_reward", {"query": ["a"]}),
        ("/nemo/reward_model_judge", {"prompts": ["a"], "responses": ["b"]}),
    ],
)
async def test_every_path_is_there(live, path, body):
    assert (await live.post(path, body)).status_code == 200


@pytest.mark.parametrize("name", ["tei", "vllm", "infinity", "sglang", "verl"])
async def test_health_is_there(live, name):
    assert (await live.client.get(f"/{name}/health")).status_code == 200
