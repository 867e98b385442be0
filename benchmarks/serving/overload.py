"""Four times more than can be served, for a minute: the accepted are quick, the refused hear it."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.serving.load import Connection, Reply, Target, closed_loop, percentile
from benchmarks.serving.rows import Side

MOST_CONNECTIONS = 2000
CODES = (b"overloaded", b"deadline_exceeded")


@dataclass(frozen=True)
class Load:
    """How many times more than can be served, and for how long.

    Before and after it `clients` who await their replies ask for `around_s` seconds.
    """

    times: float
    seconds: float
    around_s: float
    clients: int


def measure_overload(
    side: Side, bodies: Iterator[bytes], *, load: Load, deadline_ms: int | None
) -> dict[str, Any]:
    """What came of it, with speed and memory before, meanwhile, and from a second afterwards."""
    server = side.server
    closed_loop(side.target, bodies, clients=load.clients, seconds=load.around_s / 2)
    before = closed_loop(side.target, bodies, clients=load.clients, seconds=load.around_s)
    rss = server.rss_mb
    per_s = load.times * before.per_s
    hurried = {"X-Deadline-Ms": str(deadline_ms)} if deadline_ms else {}
    target = replace(side.target, headers={**side.target.headers, **hurried})
    replies, load_cpu_s = asyncio.run(_open_loop(target, bodies, per_s, load.seconds))
    rss_after = server.rss_mb
    time.sleep(1)
    after = closed_loop(side.target, bodies, clients=load.clients, seconds=load.around_s)
    return {
        "deadline_ms": deadline_ms,
        "offered_per_s": round(per_s, 1),
        "seconds": load.seconds,
        **_seen(replies),
        "load_cpu_share": round(load_cpu_s / load.seconds, 3),
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
    known = {id(reply) for some in refused.values() for reply in some}
    others = (it for it in replies if it.status != 200 and id(it) not in known)
    return {
        "statuses": {str(k): n for k, n in Counter(reply.status for reply in replies).items()},
        "accepted": _times(accepted),
        "refused": {
            code.decode(): _times([reply.seconds * 1000 for reply in some])
            for code, some in refused.items()
        },
        "refusals_without_retry_after": sum(
            "retry-after" not in reply.headers for some in refused.values() for reply in some
        ),
        "anything_else": Counter(it.headers.get("error", str(it.status)) for it in others),
    }


def _times(times_ms: Sequence[float]) -> dict[str, Any]:
    """How many, and how soon they came, if any did."""
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    return {"count": len(times_ms)} | {
        name: round(percentile(times_ms, share), 1) for name, share in shares.items() if times_ms
    }


async def _open_loop(
    target: Target, bodies: Iterator[bytes], per_s: float, seconds: float
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
        for number, body in enumerate(bodies):
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
