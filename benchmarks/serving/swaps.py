"""Many promotions while clients ask: no failure, no reply that mixes two versions, flat memory."""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.serving.load import Connection, Reply, connections
from benchmarks.serving.place import Deployment
from benchmarks.serving.rows import Question, Side

CLIENTS = 8
TOLERANCE = 2e-3  # of a probability; the two versions differ by much more
PATIENCE_S = 60

Scores = dict[int, float]


async def measure_swaps(
    deployment: Deployment,
    side: Side,
    questions: Sequence[Question],
    versions: Mapping[int, uuid.UUID],
    *,
    swaps: int,
) -> dict[str, Any]:
    """Promote two versions in turn under load and check every reply against what each says."""
    known = {at: await _answers(deployment, side, questions, at, versions[at]) for at in versions}
    apart = _apart(known)
    rss = side.server.rss_mb
    verdicts: dict[str, int] = {"right": 0, "failed": 0, "mixed": 0}
    is_over = asyncio.Event()
    began = time.perf_counter()

    async def ask(connection: Connection, start: int) -> None:
        at = start
        while not is_over.is_set():
            at = (at + 1) % len(questions)
            reply = await connection.post(side.encode(questions[at]))
            verdicts[_verdict(reply, at, known)] += 1

    async with connections(side.target, CLIENTS) as open_ones, asyncio.TaskGroup() as tasks:
        for start, connection in enumerate(open_ones):
            tasks.create_task(ask(connection, start * 7))
        for turn in range(swaps):
            await _swap(deployment, side, list(versions)[turn % 2], versions, questions[0])
        seconds = time.perf_counter() - began
        is_over.set()
    return {
        "swaps": swaps,
        "seconds_per_swap": round(seconds / swaps, 2),
        "replies": verdicts,
        "versions_differ_by": round(apart, 3),
        "rss_before_mb": round(rss, 1),
        "rss_after_mb": round(side.server.rss_mb, 1),
        "rss_peak_mb": round(side.server.peak_rss_mb, 1),
    }


async def _answers(
    deployment: Deployment, side: Side, questions: Sequence[Question], at: int, version: uuid.UUID
) -> list[Scores]:
    """What one version says to every question."""
    await _swap(deployment, side, at, {at: version}, questions[0])
    async with connections(side.target, 1) as (connection,):
        replies = [await connection.post(side.encode(question)) for question in questions]
    return [_scores(json.loads(reply.body)) for reply in replies]


async def _swap(
    deployment: Deployment,
    side: Side,
    to: int,
    versions: Mapping[int, uuid.UUID],
    question: Question,
) -> None:
    """Promote a version and wait until it replies."""
    await deployment.promote(versions[to])
    body = side.encode(question)
    async with connections(side.target, 1) as (connection,), asyncio.timeout(PATIENCE_S):
        while _version(await connection.post(body)) != to:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.02)


def _verdict(reply: Reply, at: int, known: Mapping[int, Sequence[Scores]]) -> str:
    """`right`, `failed`, or `mixed`: scores that its version does not give."""
    if reply.status != 200:
        return "failed"
    expected = known[_version(reply)][at]
    found = _scores(json.loads(reply.body))
    is_right = found.keys() == expected.keys() and all(
        abs(found[index] - expected[index]) <= TOLERANCE for index in found
    )
    return "right" if is_right else "mixed"


def _version(reply: Reply) -> int:
    model = json.loads(reply.body).get("model") if reply.status == 200 else None
    return int(model["version"]) if model else 0


def _scores(body: Mapping[str, Any]) -> Scores:
    return {one["index"]: one["relevance_score"] for one in body["results"]}


def _apart(known: Mapping[int, Sequence[Scores]]) -> float:
    """The least, over the questions, of how far the versions' scores lie apart.

    Raises:
        RuntimeError: they are too close to tell a mixed reply.
    """
    first, second = known.values()
    each = zip(first, second, strict=True)
    least = min(max(abs(one[at] - other[at]) for at in one) for one, other in each)
    if least <= 10 * TOLERANCE:
        raise RuntimeError(f"The two versions differ by {least:.4f} only; train others.")
    return least
