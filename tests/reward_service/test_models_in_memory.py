"""How much memory models take, and which of them make room."""

import asyncio
from pathlib import Path

import pytest
from safetensors.torch import load_file

from services.reward_service.memory import Budget, bytes_together
from shared.ml.artifact import load_scorer
from shared.ml.embedding_cache import EmbeddingCache
from shared.ml.scorer import Pair
from shared.ml.weights import weights_of
from tests.support.tiny_transformer import tiny_transformer

SECRET = b"a secret that is long enough for tests"
ENCODER_BYTES = 90_261_504  # 22,565,376 parameters of all-MiniLM-L6-v2 without its pooler, fp32


def test_the_weights_of_an_encoder_that_models_share_count_once(both_models):
    cache = EmbeddingCache(1_000_000)
    kind, rude = (load_scorer(folder, secret=SECRET, wrap=cache.wrap) for folder in both_models)
    kind.score([Pair("a", "b")])

    each = [weights_of(kind), weights_of(rude)]

    sizes = [sum(weights.values()) for weights in each]
    assert all(ENCODER_BYTES <= size < ENCODER_BYTES * 1.05 for size in sizes)
    assert bytes_together(each) < ENCODER_BYTES * 1.05


def test_the_weights_of_a_transformer_are_those_of_its_parameters(tiny_model: Path):
    scorer = load_scorer(tiny_model, secret=SECRET)

    stored = load_file(tiny_model / "model.safetensors")
    parameters = sum(tensor.nbytes for tensor in stored.values())

    assert parameters <= sum(weights_of(scorer).values()) <= parameters * 1.05


def test_a_budget_counts_models_and_their_bytes_together():
    shared, own, other = {1: 100}, {1: 100, 2: 10}, {1: 100, 3: 20}

    assert Budget(3, 130).allows([shared, own, other])
    assert not Budget(3, 129).allows([shared, own, other])
    assert not Budget(2, 130).allows([shared, own, other])
    assert Budget(2, 0).allows([own, other])


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer's artifact of two megabytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_transformer(folder, secret=SECRET)
    return folder


@pytest.fixture
async def three_versions(deployment, kind_model, tiny_model):
    """Versions 1 and 2 are transformers, each with its copy of the weights; 3 is the champion."""
    for _ in range(2):
        await deployment.register(tiny_model)
    await deployment.promote(await deployment.register(kind_model))


async def loaded(client) -> set[str]:
    reply = await client.get("/models/live")
    return {model["reference"] for model in reply.json()["loaded"]}


async def test_the_least_recently_used_goes_when_the_weights_take_too_much(serve, three_versions):
    tiny_bytes = 2_000_000  # about half a million parameters in fp32

    async with serve(reward_memory_bytes=ENCODER_BYTES + 3 * tiny_bytes) as client:
        for name in ("reward@1", "reward@2", "reward@1"):
            assert (await client.rerank("a", model=name)).status_code == 200
        both = await loaded(client)
    async with serve(reward_memory_bytes=ENCODER_BYTES + 2 * tiny_bytes) as client:
        for name in ("reward@1", "reward@2"):
            assert (await client.rerank("a", model=name)).status_code == 200
        newest = await loaded(client)
        metrics = (await client.get("/metrics")).text

    assert both == {"reward:champion", "reward@1", "reward@2"}
    assert newest == {"reward:champion", "reward@2"}
    assert 'heed_reward_model_bytes{model="reward",project="1",version="2"}' in metrics
    assert "heed_reward_model_evictions_total 1.0" in metrics


async def test_a_request_under_way_keeps_the_model_that_makes_room(serve, three_versions, sample):
    documents = [f"{sample.kind} {number}" for number in range(200)]

    async with serve(reward_loaded_models=2) as client:
        await client.rerank("a", model="reward@1")
        under_way = asyncio.create_task(client.rerank(*documents, model="reward@1"))
        await asyncio.sleep(0.05)
        await client.rerank("a", model="reward@2")
        left = await loaded(client)
        reply = await under_way

    assert left == {"reward:champion", "reward@2"}
    assert (reply.status_code, reply.json()["model"]["version"]) == (200, 1)
    assert len(reply.json()["results"]) == 200


async def test_the_live_model_stays_and_so_does_the_newest_whatever_the_budget(
    serve, three_versions
):
    async with serve(reward_memory_bytes=1) as client:
        replies = [await client.rerank("a", model=name) for name in (None, "reward@1", None)]
        left = await loaded(client)

    assert [reply.json()["model"]["version"] for reply in replies] == [3, 1, 3]
    assert left == {"reward:champion", "reward@1"}


async def test_the_fastest_engine_serves_about_what_the_model_was_fitted_on(
    serve, live_kind, kind_scorer, sample
):
    expected = kind_scorer(sample.prompt, [sample.kind, sample.rude])

    async with serve(reward_engine="auto") as client:
        reply = await client.rerank(sample.kind, sample.rude, **{"return": ["raw"]})

    served = [result["raw"] for result in reply.json()["results"]]
    assert served == pytest.approx(expected, abs=0.1)


async def test_a_model_that_the_fastest_engine_garbles_is_served_on_its_own(
    serve, deployment, tiny_model
):
    await deployment.promote(await deployment.register(tiny_model))
    expected = load_scorer(tiny_model, secret=SECRET).score([Pair("a", "b")]).reward[0]

    async with serve(reward_engine="auto") as client:
        await client.until_live(1)
        reply = await client.rerank("b", query="a", **{"return": ["raw"]})

    assert reply.json()["results"][0]["raw"] == pytest.approx(expected, abs=1e-5)
