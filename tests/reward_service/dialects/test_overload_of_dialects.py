"""A full queue: each client is refused as it expects, OpenRLHF's waits; who left is forgotten."""

import asyncio

import httpx
import pytest

from services.reward_service.dialects.line import Line
from shared.errors import Overloaded, Unavailable
from tests.reward_service.conftest import PROMPT, Served

MANY = [f"Drink water and rest, says the doctor of case {number}. " * 5 for number in range(40)]
REFUSED = [
    ("/rerank", {"query": PROMPT, "texts": MANY}, 429),
    ("/predict", {"inputs": [[PROMPT, text] for text in MANY]}, 429),
    ("/v2/rerank", {"model": "rerank-v3.5", "query": PROMPT, "documents": MANY}, 503),
    ("/classify", {"model": "x/y", "input": MANY, "use_activation": False}, 503),
    ("/v1/embeddings", {"model": "x/y", "input": MANY}, 503),
    ("/score", {"queries": PROMPT, "documents": MANY}, 503),
]


async def until_full(client: Served) -> None:
    async with asyncio.timeout(20):
        while "\nheed_reward_waiting_tokens 0.0" in (await client.get("/metrics")).text:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.005)


async def test_a_full_queue_refuses_as_each_client_expects_and_openrlhf_waits(serve, live_kind):
    body = {"query": [f"{PROMPT}{text}" for text in MANY], "prompts": [PROMPT] * len(MANY)}
    async with serve(reward_queue_tokens=1024, reward_workers=1) as client:
        await client.until_live(1)
        filling = asyncio.create_task(client.rerank(*MANY))
        await until_full(client)
        replies = await asyncio.gather(
            *(client.post(path, json=asked) for path, asked, _ in REFUSED),
            client.post("/get_reward", json=body, headers={"X-Deadline-Ms": "20"}),
            client.post("/get_reward", json=body),
            client.post("/get_reward", json=body),
        )
        filled = await filling

    *refused, late, patient, next_one = replies
    assert filled.status_code == 200
    assert [reply.status_code for reply in refused] == [status for *_, status in REFUSED]
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert refused[0].json()["error_type"] == "Overloaded"
    assert (late.status_code, patient.status_code, next_one.status_code) == (503, 200, 200)
    assert "0.02 s" in late.json()["error"]
    assert len(patient.json()["rewards"]) == len(MANY)


async def test_a_client_of_a_dialect_who_hangs_up_is_forgotten(serve, live_kind):
    async with serve(reward_workers=1) as client:
        await client.until_live(1)
        for path, body in (("/rerank", {"query": PROMPT, "texts": MANY}),
                           ("/get_reward", {"query": MANY})):  # fmt: skip
            with pytest.raises(httpx.ReadTimeout):
                await client.http.post(path, json=body, timeout=0.2)
        async with asyncio.timeout(10):
            while (await client.get("/metrics")).text.count('status="499"') < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        metrics = (await client.get("/metrics")).text

    dropped = metrics.split("\nheed_reward_dropped_total ")[1].split("\n")[0]
    assert float(dropped) > 2


def full() -> Overloaded:
    return Overloaded("full", retry_after_s=1)


async def test_who_waits_in_line_is_served_in_turn():
    line, room, served = Line(), asyncio.Event(), []

    async def attempt(number: int) -> int:
        if not room.is_set():
            raise full()
        served.append(number)
        return number

    waiting = [asyncio.create_task(line.wait(lambda n=n: attempt(n), 30)) for n in range(5)]
    await asyncio.sleep(0.1)
    room.set()

    assert await asyncio.gather(*waiting) == served == [0, 1, 2, 3, 4]


async def test_who_was_admitted_holds_up_nobody():
    line, room, done = Line(), asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        if not room.is_set():
            raise full()
        await done.wait()
        return "slow"

    async def quick() -> str:
        if not room.is_set():
            raise full()
        return "quick"

    first = asyncio.create_task(line.wait(slow, 30))
    second = asyncio.create_task(line.wait(quick, 30))
    await asyncio.sleep(0)
    room.set()

    assert await second == "quick"
    assert not first.done()
    done.set()
    assert await first == "slow"


async def test_a_line_is_bounded_and_its_patience_too():
    line = Line(most=1)

    async def refused() -> None:
        raise full()

    waiting = asyncio.create_task(line.wait(refused, 0.3))
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded, match="1 requests wait"):
        await line.wait(refused, 30)
    with pytest.raises(Overloaded, match="no room within"):
        await waiting


async def test_another_error_is_not_waited_for():
    async def broken() -> None:
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        await Line().wait(broken, 30)


async def test_who_is_refused_late_waits_on():
    """Work may come before the queue: a model to load, steps to count."""
    tries = 0

    async def attempt() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.02)
        if tries < 4:
            raise full()
        return "served"

    assert await Line().wait(attempt, 30) == "served"


async def test_who_leaves_the_line_gives_up_the_place():
    line, started, stopped = Line(), asyncio.Event(), asyncio.Event()

    async def refused_then_held() -> None:
        if not started.is_set():
            started.set()
            raise full()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def free() -> str:
        return "served"

    leaving = asyncio.create_task(line.wait(refused_then_held, 30))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert stopped.is_set()
    assert await line.wait(free, 30) == "served"
