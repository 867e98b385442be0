"""An engine that a test can hold and break; it stands where a processor stands.

Its reward is the length of the response.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from services.reward_service.batcher import Batcher
from shared.contracts.manifest import Truncation
from shared.ml.scorer import Pair, Scores


class HeldEngine:
    """Scores while `go` is set; remembers its batches; fails on the response `poison`."""

    manifest = SimpleNamespace(
        template="separate", truncation=Truncation(prompt_tokens=512, response_tokens=512)
    )

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[str]] = []
        self.threads: list[int] = []

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        self.threads.append(threading.get_ident())
        self.batches.append([pair.response for pair in pairs])
        while not self.go.is_set():
            time.sleep(0.001)
        if any(pair.response == "poison" for pair in pairs):
            raise ValueError("cannot score this")
        lengths = np.array([len(pair.response) for pair in pairs])
        outside = lengths > 3 if details else None
        return Scores(
            lengths.astype(float), lengths / 1e6, lengths < 0, lengths, out_of_domain=outside
        )


def pairs(*responses: str) -> list[Pair]:
    return [Pair("", response) for response in responses]


async def started(engine: HeldEngine, batches: int) -> None:
    async with asyncio.timeout(10):
        while len(engine.batches) < batches:  # noqa: ASYNC110 - another thread counts
            await asyncio.sleep(0.001)


async def cancelled(*tasks: asyncio.Task[Scores]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def submit(batcher: Batcher, engine: HeldEngine, *responses: str) -> asyncio.Task[Scores]:
    return asyncio.create_task(batcher.score(engine, pairs(*responses)))


async def idle(batcher: Batcher, workers: int) -> None:
    """Wait until so many threads wait for work."""
    async with asyncio.timeout(10):
        while batcher.idle_workers < workers:  # noqa: ASYNC110 - other threads count
            await asyncio.sleep(0.001)
