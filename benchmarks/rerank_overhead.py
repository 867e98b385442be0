"""What HTTP adds to the engine: `/rerank` of 10 candidates, one client, beside the same model here.

Start the services and promote a model (`heed up`, or `heed demo`), then run with the deployment's
settings: `python benchmarks/rerank_overhead.py`. The two
alternate, so that both meet the same load.
"""

import json
import random
import statistics
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer

from shared.config import Settings, load_settings
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair, Scorer
from shared.privacy import load_secret

QUERY_WORDS, DOCUMENT_WORDS, CANDIDATES = 18, 56, 10
SENTENCE = "rest and drink water until the fever is gone or call a doctor in the morning"
WORDS = SENTENCE.split(" ")


def main(
    url: Annotated[str, typer.Option(help="Where the reward service listens.")] = (
        "http://127.0.0.1:8001"
    ),
    key: Annotated[str, typer.Option(help="API key; default: the development key.")] = "",
    requests: Annotated[int, typer.Option(help="Requests after ten to warm up.")] = 50,
) -> None:
    """Print both medians in milliseconds and their ratio as one line of JSON."""
    settings = load_settings(Settings)
    token = key or (settings.data_dir / "dev.key").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        scorer = _live_scorer(client, settings)
        times = [_one(client, scorer, random.Random(seed)) for seed in range(requests + 10)][10:]
    over_http, here = (statistics.median(side) * 1000 for side in zip(*times, strict=True))
    typer.echo(
        json.dumps(
            {
                "http_p50_ms": round(over_http, 1),
                "engine_one_thread_p50_ms": round(here, 1),
                "ratio": round(over_http / here, 3),
                "requests": requests,
            }
        )
    )


def _live_scorer(client: httpx.Client, settings: Settings) -> Scorer:
    model = client.get("/models/live").raise_for_status().json()["model"]
    if model is None:
        raise typer.BadParameter("no model is live; run `heed demo` first")
    folder = Path(settings.artifacts) / "1" / "models" / model["sha256"]
    return load_scorer(folder, secret=load_secret(settings))


def _one(client: httpx.Client, scorer: Scorer, draw: random.Random) -> tuple[float, float]:
    query = " ".join(draw.choices(WORDS, k=QUERY_WORDS))
    documents = [" ".join(draw.choices(WORDS, k=DOCUMENT_WORDS)) for _ in range(CANDIDATES)]
    began = time.perf_counter()
    client.post("/rerank", json={"query": query, "documents": documents}).raise_for_status()
    replied = time.perf_counter()
    scorer.score([Pair(query, document) for document in documents])
    return replied - began, time.perf_counter() - replied


if __name__ == "__main__":
    typer.run(main)
