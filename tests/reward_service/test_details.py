"""What `/score` and `/rerank` say beside a score when they are asked, over real HTTP."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from shared.contracts.manifest import Conformal, Continuity, Curve, Domain
from shared.ml.artifact import MANIFEST_FILE, load_scorer, read_manifest, write_artifact
from shared.ml.backbones import default_encoder_folder
from shared.ml.domain import DOMAIN_FILE, DomainModel, PartDomain
from shared.ml.encoder import open_encoder
from shared.ml.head import HEAD_FILE, RewardHead, read_head
from shared.ml.last_layer import VECTOR
from shared.ml.scorer import Pair
from tests.support.tiny_transformer import tiny_transformer

SECRET = b"a secret that is long enough for tests"
EXTRAS = ["raw", "reward", "interval", "out_of_domain", "aspects", "steps"]


@pytest.fixture(scope="module")
def rich_model(kind_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kind model with an interval, a domain, a kept scale and the aspect `bluntness`."""
    plain = read_manifest(kind_model, secret=SECRET)
    head = read_head(kind_model, plain.features, dim=384)
    blunt = RewardHead(
        head.features,
        head.weights,
        head.bias,
        aspects={"bluntness": -np.append(head.weights, head.bias)},
    )
    domain = _near("Rest, drink water and call your doctor if the fever lasts.")
    manifest = plain.model_copy(
        update={
            "aspects": ("bluntness",),
            "conformal": Conformal(
                target="rating",
                level=0.9,
                quantile=2.0,
                centre=Curve(rewards=(-2.0, 2.0), values=(0.3, 0.7)),
                spread=Curve(rewards=(0.0,), values=(0.1,)),
                groups=100,
            ),
            "domain": Domain(parts=("response",), threshold=1.0, level=0.99, groups=100),
            "continuity": Continuity(
                reference="reward@1", rewards=(-1.0, 1.0), values=(9.0, 21.0), slope=6.0, texts=50
            ),
        }
    )

    def fill(stage: Path) -> None:
        (stage / HEAD_FILE).write_bytes(blunt.to_bytes())
        (stage / DOMAIN_FILE).write_bytes(domain.to_bytes())

    folder = tmp_path_factory.mktemp("models") / "rich"
    write_artifact(folder, manifest, fill=fill, secret=SECRET)
    return folder


def _near(text: str) -> DomainModel:
    encoder = open_encoder(default_encoder_folder())
    ids = encoder.tokenizer.head_window(encoder.tokenizer.ids([text])[0], 256).ids
    mean = encoder.embed([ids])[0]
    return DomainModel({"response": PartDomain(mean, np.eye(384, dtype=np.float32))}, 1.0)


@pytest.fixture
async def live_rich(deployment, rich_model):
    version = await deployment.register(rich_model)
    await deployment.promote(version)
    return version


async def test_details_are_those_of_the_manifest(serve, live_rich, sample):
    odd = "zxq qqv 77 brrt"
    inputs = [{"prompt": sample.prompt, "response": text} for text in (sample.kind, odd)]

    async with serve() as client:
        reply = await client.post("/score", json={"inputs": inputs, "return": EXTRAS})

    for result in reply.json()["results"]:
        assert result["reward"] == pytest.approx(15 + 6 * result["raw"])
        expected = 0.5 + 0.1 * max(-2.0, min(2.0, result["raw"]))
        low, high = max(0.0, expected - 0.2), min(1.0, expected + 0.2)
        assert result["interval"] == pytest.approx({"low": low, "expected": expected, "high": high})
        assert result["aspects"]["overall"] == pytest.approx(result["score"])
        assert result["aspects"]["bluntness"] == pytest.approx(1 / (1 + math.exp(result["raw"])))
    assert [result["out_of_domain"] for result in reply.json()["results"]] == [False, True]


async def test_rerank_gives_the_same_details_as_score(serve, live_rich, sample):
    texts = [sample.rude, sample.kind]
    inputs = [{"prompt": sample.prompt, "response": text} for text in texts]

    async with serve() as client:
        scored = await client.post("/score", json={"inputs": inputs, "return": EXTRAS})
        ranked = await client.rerank(*texts, **{"return": EXTRAS})

    for result in ranked.json()["results"]:
        same = scored.json()["results"][result["index"]]
        assert {name: result[name] for name in EXTRAS} == {name: same[name] for name in EXTRAS}
        assert result["relevance_score"] == same["score"]


async def test_a_transformer_weighs_aspects_read_from_the_vectors_of_its_last_layer(
    serve, deployment, sample, tmp_path
):
    scorer = tiny_transformer(tmp_path / "plain", secret=SECRET)
    pairs = [Pair(sample.prompt, text) for text in (sample.rude, sample.kind)]
    rewards, vectors = scorer.rewards_and_vectors(pairs)
    apart = (vectors[1] - vectors[0]).astype(np.float64)
    weights = -2 * np.sign(rewards[1] - rewards[0]) * apart / (apart @ apart)
    turned = np.append(weights, -vectors.mean(axis=0) @ weights)  # log-odds of 1 and -1
    head = RewardHead(VECTOR, np.zeros(16), 0.0, aspects={"turned": turned})
    manifest = scorer.manifest.model_copy(update={"aspects": ("turned",)})

    def fill(stage: Path) -> None:
        shutil.copytree(tmp_path / "plain", stage, dirs_exist_ok=True)
        (stage / MANIFEST_FILE).unlink()
        (stage / HEAD_FILE).write_bytes(head.to_bytes())

    write_artifact(tmp_path / "model", manifest, fill=fill, secret=SECRET)
    await deployment.promote(await deployment.register(tmp_path / "model"))

    async with serve(reward_engine="fitted") as client:
        replies = [
            await client.rerank(sample.rude, sample.kind, **asked, **{"return": ["aspects"]})
            for asked in ({}, {"weights": {"turned": 1}})
        ]

    plain, weighed = ([one["index"] for one in reply.json()["results"]] for reply in replies)
    assert weighed == plain[::-1]
    said = [one["aspects"]["turned"] for one in replies[1].json()["results"]]
    assert said == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))], abs=0.02)


async def test_who_asks_for_nothing_gets_what_there_was_before(serve, live_rich, sample):
    item = {"prompt": sample.prompt, "response": sample.kind}

    async with serve() as client:
        ranked = await client.rerank(sample.kind)
        scored = await client.post("/score", json={"inputs": [item]})

    assert set(ranked.json()) == {"id", "model", "decision_id", "results"}
    assert set(ranked.json()["results"][0]) == {"index", "relevance_score"}
    assert set(scored.json()["results"][0]) == {"score", "truncated"}


async def test_weights_of_aspects_decide_the_order(serve, live_rich, sample):
    async with serve() as client:
        replies = [
            await client.rerank(sample.rude, sample.kind, weights=weights)
            for weights in (
                {},
                {"overall": 2},
                {"overall": 1, "bluntness": 5},
                {"bluntness": -1},
            )
        ]

    results = [reply.json()["results"] for reply in replies]
    assert [found[0]["index"] for found in results] == [1, 1, 0, 1]
    assert results[1][0]["relevance_score"] == pytest.approx(results[0][0]["relevance_score"])


async def test_a_weighted_score_is_the_mean_log_odds(serve, live_rich, rich_model, sample):
    item = {"prompt": sample.prompt, "response": sample.kind}
    scorer = load_scorer(rich_model, secret=SECRET)
    raw = float(scorer.score([Pair(sample.prompt, sample.kind)]).reward[0])
    calibration = scorer.manifest.calibration
    overall = calibration.slope * raw + calibration.intercept

    async with serve() as client:
        body = {"inputs": [item], "weights": {"overall": 1, "bluntness": 0.5}}
        reply = await client.post("/score", json=body)

    expected = 1 / (1 + math.exp(-(overall - 0.5 * raw) / 1.5))
    assert reply.json()["results"][0]["score"] == pytest.approx(expected, abs=1e-6)


async def test_an_aspect_the_model_does_not_know_is_refused_with_those_it_knows(
    serve, live_rich, sample
):
    async with serve() as client:
        reply = await client.rerank(sample.kind, weights={"accuracy": 1})

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/weights"
    assert "overall, bluntness" in reply.json()["detail"]


def variant(deployment, kind_model: Path, **changes: object) -> Path:
    """The kind model without domain and interval, and with other values in its manifest."""
    plain = read_manifest(kind_model, secret=SECRET)
    changed = plain.model_copy(update={"conformal": None, "domain": None, **changes})
    folder = deployment.settings.data_dir / "variant"

    def fill(stage: Path) -> None:
        (stage / HEAD_FILE).write_bytes((kind_model / HEAD_FILE).read_bytes())

    folder.parent.mkdir(parents=True, exist_ok=True)
    write_artifact(folder, changed, fill=fill, secret=SECRET)
    return folder


async def test_a_model_of_steps_says_the_score_of_each(serve, deployment, kind_model, sample):
    folder = variant(deployment, kind_model, process="min")
    await deployment.promote(await deployment.register(folder))
    texts = [f"{sample.kind}\n\n{sample.rude}", sample.kind]
    inputs = [{"prompt": sample.prompt, "response": text} for text in texts]

    async with serve() as client:
        scored = await client.post("/score", json={"inputs": inputs, "return": ["raw", "steps"]})
        ranked = await client.rerank(*texts, **{"return": ["steps"]})

    whole, alone = scored.json()["results"]
    scorer = load_scorer(folder, secret=SECRET)
    raw = scorer.score([Pair(sample.prompt, text) for text in texts]).reward
    assert [whole["raw"], alone["raw"]] == pytest.approx(raw.tolist(), abs=1e-5)
    assert (len(whole["steps"]), len(alone["steps"])) == (2, 1)
    assert whole["score"] == pytest.approx(min(whole["steps"]))
    assert [result["index"] for result in ranked.json()["results"]] == [1, 0]
    assert [len(result["steps"]) for result in ranked.json()["results"]] == [1, 2]


async def test_what_a_model_cannot_say_is_null(serve, deployment, kind_model, sample):
    await deployment.promote(await deployment.register(variant(deployment, kind_model)))

    async with serve() as client:
        reply = await client.rerank(sample.kind, **{"return": EXTRAS})

    (result,) = reply.json()["results"]
    assert [result[name] for name in ("interval", "out_of_domain", "steps")] == [None] * 3
    assert result["aspects"] == {"overall": pytest.approx(result["relevance_score"])}
    assert result["reward"] == result["raw"]


async def test_without_a_model_extras_and_weights_change_nothing(serve):
    async with serve() as client:
        reply = await client.rerank("b", "a", weights={"accuracy": 1}, **{"return": EXTRAS})

    assert reply.status_code == 200
    assert reply.json()["fallback"] is True
    assert [result["index"] for result in reply.json()["results"]] == [0, 1]
