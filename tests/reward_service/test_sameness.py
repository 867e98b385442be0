"""The same text scores the same wherever it is scored: trainer, evaluator, policy, server."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from services.trainer.audit.held_out import Rewards
from services.trainer.judging import MatchedRatings
from services.trainer.reward_metrics import pair_margins
from shared.ml.artifact import load_scorer, read_manifest
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder
from shared.ml.head import read_head
from shared.ml.scorer import EmbeddingScorer, Pair, Scorer
from tests.support.tiny_transformer import tiny_transformer

SECRET = b"a secret that is long enough for tests"
PAIRS = [
    Pair(
        f"What helps against {('fever', 'a cough', 'pain')[at % 3]}{' at night' * (at % 5)}?",
        f"Case {at}: {'rest, ' * (at * 7 % 9)}and drink enough water{'!' * (at % 4)}",
    )
    for at in range(64)
]


@pytest.fixture(scope="module")
def trained_models(
    kind_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Scorer]]:
    """By kind an artifact and the scorer that the trainer held in memory."""
    manifest = read_manifest(kind_model, secret=SECRET)
    head = read_head(kind_model, manifest.features, dim=384)
    encoder = open_encoder(default_encoder_folder())
    folder = tmp_path_factory.mktemp("models") / "transformer"
    return {
        "embedding": (kind_model, EmbeddingScorer(manifest, encoder, head)),
        "transformer": (folder, tiny_transformer(folder, secret=SECRET)),
    }


@pytest.mark.parametrize("kind", ["embedding", "transformer"])
async def test_a_text_scores_the_same_in_trainer_evaluator_and_server(
    serve, deployment, trained_models, kind
):
    folder, in_memory = trained_models[kind]
    await deployment.promote(await deployment.register(folder))
    trainer = in_memory.score(PAIRS).reward
    assert trainer.std() > 0.01

    loaded = load_scorer(folder, secret=SECRET)
    evaluator = Rewards(loaded).of(PAIRS)
    margins = pair_margins(loaded, _as_comparisons())
    policy = np.concatenate([loaded.score([pair]).reward for pair in PAIRS])
    async with serve() as client:
        await client.until_live(1)
        served = {size: await _served(client, size) for size in (1, 8, 64)}
        ranked = await client.rerank(
            *[pair.response for pair in PAIRS], query=PAIRS[0].prompt, **{"return": ["raw"]}
        )

    found = {"evaluator": evaluator, "policy": policy} | served
    worst = {name: float(np.abs(rewards - trainer).max()) for name, rewards in found.items()}
    assert max(worst.values()) <= 1e-5, worst
    assert np.abs(margins - (trainer[0::2] - trainer[1::2])).max() <= 2e-5
    same_prompt = loaded.rerank_scores(PAIRS[0].prompt, [pair.response for pair in PAIRS]).reward
    by_index = {result["index"]: result["raw"] for result in ranked.json()["results"]}
    assert np.abs(np.array([by_index[at] for at in range(64)]) - same_prompt).max() <= 1e-5


def _as_comparisons() -> list[MatchedRatings]:
    """The pairs two by two, each response with its own prompt."""
    return [
        MatchedRatings(
            left.prompt, left.response, right.response, "g", rejected_prompt=right.prompt
        )
        for left, right in zip(PAIRS[0::2], PAIRS[1::2], strict=True)
    ]


async def _served(client, size: int) -> np.ndarray:
    """Raw rewards over HTTP in requests of `size` inputs, four of them at a time."""
    gate = asyncio.Semaphore(4)

    async def ask(start: int) -> list[float]:
        some = PAIRS[start : start + size]
        inputs = [{"prompt": pair.prompt, "response": pair.response} for pair in some]
        async with gate:
            reply = await client.post("/score", json={"inputs": inputs, "return": ["raw"]})
        return [result["raw"] for result in reply.json()["results"]]

    parts = await asyncio.gather(*(ask(start) for start in range(0, len(PAIRS), size)))
    return np.array([raw for part in parts for raw in part])
