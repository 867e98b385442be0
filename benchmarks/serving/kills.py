"""Scoring threads die under load: everybody is answered, and others take their place."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.serving.load import Connection, Reply, closed_loop, connections
from benchmarks.serving.rows import Side

CLIENTS = 8


def measure_kills(
    side: Side, bodies: Iterator[bytes], *, kills: int, every_s: float
) -> dict[str, Any]:
    """Statuses, the longest wait, threads replaced, and the speed before and after."""
    before = closed_loop(side.target, bodies, clients=CLIENTS, seconds=4 * every_s)
    replies = asyncio.run(_killing(side, bodies, kills, every_s))
    after = closed_loop(side.target, bodies, clients=CLIENTS, seconds=4 * every_s)
    return {
        "kills": kills,
        "workers_replaced": int(side.server.metric("heed_reward_workers_replaced_total")),
        "statuses": {str(k): n for k, n in Counter(reply.status for reply in replies).items()},
        "longest_ms": round(max(reply.seconds for reply in replies) * 1000, 1),
        "requests_per_s_before": round(before.per_s, 1),
        "requests_per_s_after": round(after.per_s, 1),
        "failed_after": after.failed,
    }


async def _killing(side: Side, bodies: Iterator[bytes], kills: int, every_s: float) -> list[Reply]:
    replies: list[Reply] = []
    end = time.monotonic() + (kills + 1) * every_s

    async def ask(connection: Connection) -> None:
        while time.monotonic() < end:
            replies.append(await connection.post(next(bodies)))

    async with connections(side.target, CLIENTS) as open_ones, asyncio.TaskGroup() as tasks:
        for connection in open_ones:
            tasks.create_task(ask(connection))
        for _ in range(kills):
            await asyncio.sleep(every_s)
            side.server.process.send_signal(signal.SIGUSR1)
    return replies
