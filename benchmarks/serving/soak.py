"""Hours in small: all shapes of requests for a long time; what grows that should not."""

import asyncio
import json
import os
import random
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest_servers import Server
from benchmarks.serving.load import Connection, Reply, connections, percentile
from benchmarks.serving.place import Deployment
from benchmarks.serving.texts import LONGEST, Texts

CLIENTS = 3
SAMPLES = 40
SWAPS = 10
KEPT = 400  # texts that come again and again, as favourite prompts do


@dataclass(frozen=True)
class Sample:
    """The service at one moment; latencies are of the replies since the sample before, if any.

    Requests differ in size, so latencies are per candidate. `others_cpu` is the part of the
    machine (0 to 1) that neither the service nor its clients used since then: stolen by the host
    or spent by other programs.
    """

    minute: float
    rss_mb: float
    file_handles: int
    p50_ms: float | None
    p99_ms: float | None
    requests: int
    failed: int
    others_cpu: float


async def measure_soak(
    deployment: Deployment, server: Server, versions: Sequence[uuid.UUID], *, minutes: float
) -> dict[str, Any]:
    """Samples over the time, and growth from its second quarter to its last."""
    target, draw = deployment.target(server, "/rerank"), _questions()
    replies: list[tuple[Reply, int]] = []
    is_over = asyncio.Event()
    async with connections(target, CLIENTS) as open_ones, asyncio.TaskGroup() as tasks:
        for connection in open_ones:
            tasks.create_task(_ask(connection, draw, replies, is_over))
        samples, others = [], _Others(server)
        for at in range(SAMPLES):
            if at % (SAMPLES // SWAPS) == 0:
                await deployment.promote(versions[(at * SWAPS // SAMPLES) % len(versions)])
            await asyncio.sleep(minutes * 60 / SAMPLES)
            since, replies[:] = list(replies), []
            minute = (at + 1) * minutes / SAMPLES
            samples.append(_sample(server, since, minute=minute, others_cpu=others.share()))
        is_over.set()
    return {
        "minutes": minutes,
        "requests": sum(sample.requests for sample in samples),
        "failed": sum(sample.failed for sample in samples),
        "growth": growth(samples),
        "samples": [asdict(sample) for sample in samples],
    }


def growth(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Medians of the last quarter by those of the second; the first warms up."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    grown = {}
    for name in ("rss_mb", "file_handles", "p50_ms", "p99_ms"):
        before, after = _median(early, name), _median(late, name)
        grown[name] = round(after / before, 3) if before and after else None
    return grown


async def _ask(
    connection: Connection,
    draw: Callable[[], tuple[bytes, int]],
    replies: list[tuple[Reply, int]],
    is_over: asyncio.Event,
) -> None:
    while not is_over.is_set():
        body, candidates = draw()
        replies.append((await connection.post(body), candidates))


def _questions() -> Callable[[], tuple[bytes, int]]:
    """Draws a request: 1 to 40 candidates, short or long, one in three of them seen before."""
    texts, dice = Texts(3), random.Random(3)
    prompts = [texts.query(dice.randint(8, 60)) for _ in range(KEPT)]
    kept = texts.documents(KEPT)

    def draw() -> tuple[bytes, int]:
        count = min(40, 1 + int(dice.expovariate(1 / 8)))
        documents = [
            dice.choice(kept) if dice.random() < 1 / 3 else texts.document(dice.randint(4, LONGEST))
            for _ in range(count)
        ]
        query = dice.choice(prompts) if dice.random() < 1 / 2 else texts.query()
        return json.dumps({"query": query, "documents": documents}).encode(), count

    return draw


class _Others:
    """How much of the machine went to neither the service nor this process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._spent()

    def share(self) -> float:
        """The part of the processors' time since it was asked before, 0 to 1."""
        before, self._before = self._before, self._spent()
        seconds, busy = (now - then for now, then in zip(self._before, before, strict=True))
        return round(max(0.0, busy / (seconds * (os.cpu_count() or 1))), 3)

    def _spent(self) -> tuple[float, float]:
        """The clock, and the seconds that all processors were busy but not with us."""
        fields = [int(it) for it in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        ours = self._server.cpu_s + time.process_time()
        return time.monotonic(), busy - ours


def _sample(
    server: Server, since: Sequence[tuple[Reply, int]], *, minute: float, others_cpu: float
) -> Sample:
    good = [1000 * reply.seconds / size for reply, size in since if reply.status == 200]
    return Sample(
        minute=round(minute, 2),
        rss_mb=round(server.rss_mb, 1),
        file_handles=len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())),
        p50_ms=round(percentile(good, 0.5), 2) if good else None,
        p99_ms=round(percentile(good, 0.99), 2) if good else None,
        requests=len(since),
        failed=len(since) - len(good),
        others_cpu=others_cpu,
    )


def _median(samples: Sequence[Sample], name: str) -> float | None:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    return float(statistics.median(values)) if values else None
