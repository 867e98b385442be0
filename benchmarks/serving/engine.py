"""A process that scores without HTTP, and multiplies matrices: what the server could do at most.

It holds the served artifact and waits for orders, one JSON object a line, so that its measurements
alternate with those of the servers; each order is answered with one line.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scipy.stats import kendalltau

from benchmarks.serving.models import SECRET
from benchmarks.serving.texts import CANDIDATES, Texts
from benchmarks.serving.work import Shape, flop, multiply
from shared.contracts.scoring import EngineChoice
from shared.ml.artifact import load_scorer
from shared.ml.scorer import Pair, Scorer

REQUESTS = 400
SPECIAL_TOKENS = 2

Order = dict[str, Any]


class Engine:
    """The served artifact with its engine, and the reference in fp32."""

    def __init__(
        self, folder: Path, reference: Path, *, engine: EngineChoice, threads: int
    ) -> None:
        self.scorer = load_scorer(folder, secret=SECRET.encode(), engine=engine)
        self.reference = load_scorer(reference, secret=SECRET.encode(), engine="fp32")
        self.threads = threads
        self.shape = Shape.of_default_encoder()

    def about(self, _: Order) -> Order:
        """Which engine it is."""
        return {"engine": self.scorer.engine, "torch": torch.__version__}

    def rerank(self, order: Order) -> Order:
        """Requests of ten candidates, one after the other on every thread."""
        texts = Texts(order["seed"])
        requests = drawn(texts, REQUESTS)
        done, seconds = self._in_threads(requests, order["seconds"])
        work = sum(flop(self.shape, size) for size in _encoded(texts, requests[:done]))
        return {"candidates_per_s": CANDIDATES * done / seconds, "gops": work / seconds / 1e9}

    def _in_threads(self, requests: Sequence[list[Pair]], seconds: float) -> tuple[int, float]:
        """How many requests were scored, each by one thread, and in how many seconds."""
        some, done, lock = iter(requests), [0], threading.Lock()
        began = time.perf_counter()

        def work() -> None:
            while time.perf_counter() - began < seconds:
                with lock:
                    request = next(some, None)
                if request is None:
                    return
                self.scorer.score(request)
                with lock:
                    done[0] += 1

        in_parallel(work, self.threads)
        return done[0], time.perf_counter() - began

    def multiply(self, order: Order) -> Order:
        """The encoder's matrix products alone, in the engine's precision."""
        work = multiply(self.shape, self.scorer.engine)
        done, lock = [0.0], threading.Lock()
        began = time.perf_counter()

        def some() -> None:
            mine = 0.0
            while time.perf_counter() - began < order["seconds"]:
                mine += work()
            with lock:
                done[0] += mine

        in_parallel(some, self.threads)
        return {"gops": done[0] / (time.perf_counter() - began) / 1e9}

    def agree(self, order: Order) -> Order:
        """How close the rewards are to those in fp32, and whether a batch changes them."""
        requests = drawn(Texts(order["seed"]), order["requests"])
        pairs = [pair for request in requests for pair in request]
        rewards, good = _scored(self.scorer, requests)
        exact, exactly_good = _scored(self.reference, requests)
        alone = np.array([self.scorer.score([pair]).probability[0] for pair in pairs[:100]])
        return {
            "kendall_tau": float(kendalltau(rewards, exact).statistic),
            "kendall_tau_of_ten": float(np.mean([
                kendalltau(rewards[at : at + CANDIDATES], exact[at : at + CANDIDATES]).statistic
                for at in range(0, len(pairs), CANDIDATES)
            ])),
            "score_change": {
                "mean": float(np.abs(good - exactly_good).mean()),
                "largest": float(np.abs(good - exactly_good).max()),
            },
            "batch_effect_largest": float(np.abs(alone - good[:100]).max()),
            "pairs": len(pairs),
        }  # fmt: skip

    def rewards(self, order: Order) -> Order:
        """Scores of given pairs, to compare with what came over HTTP."""
        pairs = [Pair(prompt, response) for prompt, response in order["pairs"]]
        return {"probability": self.scorer.score(pairs).probability.tolist()}


def drawn(texts: Texts, number: int) -> list[list[Pair]]:
    """So many requests of ten candidates."""
    queries = (texts.query() for _ in range(number))
    return [[Pair(query, document) for document in texts.documents()] for query in queries]


def in_parallel(work: Callable[[], None], threads: int) -> None:
    """The same work in several threads, until all are done."""
    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def _encoded(texts: Texts, requests: Sequence[Sequence[Pair]]) -> list[int]:
    """Tokens of every text that is encoded: each request's query once, and its documents."""
    each = [[request[0].prompt, *(pair.response for pair in request)] for request in requests]
    return [size + SPECIAL_TOKENS for some in each for size in texts.count(some)]


def _scored(
    scorer: Scorer, requests: Sequence[Sequence[Pair]]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Rewards and probabilities, one request at a time."""
    found = [scorer.score(request) for request in requests]
    return (
        np.concatenate([scores.reward for scores in found]),
        np.concatenate([scores.probability for scores in found]),
    )


def main(
    folder: Path,
    reference: Annotated[Path, typer.Option()],
    engine: Annotated[EngineChoice, typer.Option()] = "auto",
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    """Answer orders until the input ends."""
    held = Engine(folder, reference, engine=engine, threads=threads)
    for line in sys.stdin:
        order = json.loads(line)
        typer.echo(json.dumps(getattr(held, order["do"])(order)))
        sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
