"""Four times more than can be served, for a minute: the accepted are quick, the refused hear it."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.serving.load import Connection, Reply, Target, closed_loop, percentile
from benchmarks.serving.rows import Side

CLIENTS = 16
MOST_CONNECTIONS = 2000
CODES = (b"overloaded", b"deadline_exceeded")


def measure_overload(
    side: Side, bodies: Sequence[bytes], *, times: float, seconds: float, around_s: float
) -> dict[str, Any]:
    """What came of it, with speed and memory before, meanwhile, and from a second afterwards."""
    server = side.server
    closed_loop(side.target, bodies, clients=CLIENTS, seconds=around_s / 2)
    before = closed_loop(side.target, bodies, clients=CLIENTS, seconds=around_s)
    rss = server.rss_mb
    offered = times * before.per_s
    replies, load_cpu_s = asyncio.run(_open_loop(side.target, bodies, offered, seconds))
    rss_after = server.rss_mb
    time.sleep(1)
    after = closed_loop(side.target, bodies, clients=CLIENTS, seconds=around_s)
    return {
        "offered_per_s": round(offered, 1),
        "seconds": seconds,
        **_seen(replies),
        "load_cpu_share": round(load_cpu_s / seconds, 3),
        "rss_before_mb": round(rss, 1),
        "rss_after_mb": round(rss_after, 1),
        "rss_peak_mb": round(server.peak_rss_mb, 1),
        "requests_per_s_before": round(before.per_s, 1),
        "requests_per_s_after": round(after.per_s, 1),
        "failed_around": before.failed + after.failed,
    }


def _seen(replies: Sequence[Reply]) -> dict[str, Any]:
    accepted = [reply.seconds * 1000 for reply in replies if reply.status == 200]
    refused = {code: [r for r in replies if code in r.body[:400]] for code in CODES}
    known = len(accepted) + sum(map(len, refused.values()))
    return {
        "statuses": {str(k): n for k, n in Counter(reply.status for reply in replies).items()},
        "accepted_p50_ms": round(percentile(accepted, 0.5), 1),
        "accepted_p99_ms": round(percentile(accepted, 0.99), 1),
        "refused": {code.decode(): _refusals(some) for code, some in refused.items()},
        "refusals_without_retry_after": sum(
            "retry-after" not in reply.headers for some in refused.values() for reply in some
        ),
        "anything_else": len(replies) - known,
    }


def _refusals(replies: Sequence[Reply]) -> dict[str, Any]:
    times = [reply.seconds * 1000 for reply in replies]
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {"count": len(times)} | {
        name: round(percentile(times, share), 1) for name, share in shares.items() if times
    }


async def _open_loop(
    target: Target, bodies: Sequence[bytes], per_s: float, seconds: float
) -> tuple[list[Reply], float]:
    """Requests at a fixed rate, whatever becomes of those before; and the clients' CPU seconds."""
    free: list[Connection] = []
    replies: list[Reply] = []
    cpu, began = time.process_time(), time.perf_counter()

    async def ask(body: bytes) -> None:
        connection = free.pop() if free else Connection(target)
        replies.append(await connection.post(body))
        free.append(connection)

    async with asyncio.TaskGroup() as tasks:
        for number, body in enumerate(itertools.cycle(bodies)):
            wait_s = began + number / per_s - time.perf_counter()
            if time.perf_counter() - began > seconds:
                break
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if number - len(replies) < MOST_CONNECTIONS:
                tasks.create_task(ask(body))
    for connection in free:
        connection.close()
    return replies, time.process_time() - cpu
