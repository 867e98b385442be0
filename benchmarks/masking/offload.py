"""Threads or processes: how many posts a second are masked, and how late the event loop gets.

64 callers send posts of about 1.1 KB without a pause, one in 500 has 100 KB; meanwhile a task that
wants to wake every millisecond measures by how much it is late.
"""

import asyncio
import itertools
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.masking.corpus import load, make_cases
from services.feedback_api.masking.pool import MaskingPool
from services.feedback_api.masking.rows import mask_row
from shared.privacy.masking import Masker

CALLERS = 64
TICK_S = 0.001
LARGE_EVERY, LARGE_TIMES = 500, 100
Row = dict[str, Any]
Mask = Callable[[Row], Awaitable[Any]]


def rows() -> list[Row]:
    """Posts with a prompt and a response of about 550 characters each, some with identifiers."""
    held_out = load("held_out")
    texts = [*held_out.plain, *(case.text for case in make_cases(held_out, 1, 0))]
    joined = itertools.cycle(texts)
    made = [
        {"user_query": _of_size(joined), "agent_response": _of_size(joined)} for _ in range(499)
    ]
    return [*made, {"agent_response": made[0]["agent_response"] * 2 * LARGE_TIMES}]


def _of_size(texts: "itertools.cycle[str]", size: int = 550) -> str:
    text = ""
    while len(text) < size:
        text += next(texts) + " "
    return text[:size]


async def compare(seconds: float) -> dict[str, dict[str, float]]:
    """Posts a second, also per second of CPU, and lateness of the loop, for each way."""
    found = {}
    for name, way in (("threads_2", _threads), ("processes_1", _one), ("processes_2", _two)):
        used = _cpu_s()
        async with way() as mask:
            await mask({"comments": "warm"})
            result = await _load(mask, seconds)
        posts = result["posts_per_s"] * seconds
        found[name] = result | {"posts_per_cpu_s": round(posts / (_cpu_s() - used), 1)}
    return found


def _cpu_s() -> float:
    """CPU time of this process and of those that have ended, seconds."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


@asynccontextmanager
async def _threads() -> AsyncIterator[Mask]:
    masker, loop = Masker(), asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as threads:
        yield lambda row: loop.run_in_executor(threads, mask_row, masker, row)


@asynccontextmanager
async def _processes(count: int) -> AsyncIterator[Mask]:
    pool = MaskingPool(processes=count, budget_s=30, max_pending=10_000, on_failure=lambda _: None)
    async with pool.running():
        yield pool.mask


_one, _two = partial(_processes, 1), partial(_processes, 2)


async def _load(mask: Mask, seconds: float) -> dict[str, float]:
    posts = itertools.cycle(rows())
    end = time.perf_counter() + seconds
    late: list[float] = []
    done = await asyncio.gather(
        *(_call(mask, posts, end) for _ in range(CALLERS)), _measure_lateness(late, end)
    )
    late.sort()
    return {
        "posts_per_s": round(sum(filter(None, done)) / seconds, 1),
        "loop_late_p50_ms": round(late[len(late) // 2] * 1000, 2),
        "loop_late_p99_ms": round(late[int(len(late) * 0.99)] * 1000, 2),
        "loop_late_max_ms": round(late[-1] * 1000, 2),
    }


async def _call(mask: Mask, posts: "itertools.cycle[Row]", end: float) -> int:
    count = 0
    while time.perf_counter() < end:
        await mask(next(posts))
        count += 1
    return count


async def _measure_lateness(late: list[float], end: float) -> None:
    while (started := time.perf_counter()) < end:
        await asyncio.sleep(TICK_S)
        late.append(time.perf_counter() - started - TICK_S)
