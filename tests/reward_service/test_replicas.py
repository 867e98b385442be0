"""Two reward services on one database behind a real nginx, and nginx in front of two refusals."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support.proxies import Proxy, free_port, nginx
from support.receivers import receiving

PATIENCE_S = 60
RUDE, KIND = 0, 1  # where they stand in the request
BUSY = (503, {"Retry-After": "3"})


@dataclass
class Replicas:
    """Two processes, their ports, nginx in front, and a key that may score."""

    environment: dict[str, str]
    processes: dict[int, asyncio.subprocess.Process]
    proxy: Proxy
    http: httpx.AsyncClient

    async def start(self, port: int) -> None:
        self.processes[port] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.reward_service"),
            env={**self.environment, "HEED_REWARD_PORT": str(port)},
        )

    async def until_live(self, port: int, version: int) -> None:
        """Wait until a replica itself serves a version."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._live(port) != version:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)

    async def _live(self, port: int) -> int | None:
        try:
            reply = await self.http.get(f"http://127.0.0.1:{port}/models/live")
        except httpx.TransportError:
            return None
        return (reply.json().get("model") or {}).get("version")

    async def rerank(self, sample: Any) -> httpx.Response:
        body = {"query": sample.prompt, "documents": [sample.rude, sample.kind]}
        return await self.http.post("/rerank", json=body)


@pytest.fixture
async def replicas(deployment, live_kind) -> AsyncIterator[Replicas]:
    """Two services, both of which serve version 1."""
    settings, ports = deployment.settings, (free_port(), free_port())
    environment = {
        "PATH": os.environ["PATH"],  # noqa: TID251 - handed on
        "HEED_DATABASE_URL": settings.database_url.get_secret_value(),
        "HEED_SECRET_KEY": settings.secret_key.get_secret_value(),
        "HEED_DATA_DIR": str(settings.data_dir),
        "HEED_REWARD_WORKERS": "1",
        "HEED_LOG_LEVEL": "ERROR",
    }
    headers = {"Authorization": f"Bearer {await deployment.key('score')}"}
    with nginx(ports) as proxy:
        client = httpx.AsyncClient(base_url=proxy.url, headers=headers, timeout=PATIENCE_S)
        async with client, AsyncExitStack() as stack:
            found = Replicas(environment, {}, proxy, client)
            stack.push_async_callback(_end, found)
            for port in ports:
                await found.start(port)
            for port in ports:
                await found.until_live(port, 1)
            yield found


async def _end(replicas: Replicas) -> None:
    for process in replicas.processes.values():
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_promotion_reaches_every_replica_and_replies_say_their_version(
    replicas, deployment, rude_model, sample
):
    before = [await replicas.rerank(sample) for _ in range(10)]
    await deployment.promote(await deployment.register(rude_model))
    for port in replicas.processes:
        await replicas.until_live(port, 2)
    after = [await replicas.rerank(sample) for _ in range(10)]

    assert [_said(reply) for reply in before] == [(1, KIND)] * 10
    assert [_said(reply) for reply in after] == [(2, RUDE)] * 10
    asked = [address for tries, _ in replicas.proxy.asked() for address in tries]
    assert set(asked) == {f"127.0.0.1:{port}" for port in replicas.processes}


async def test_a_killed_replica_costs_no_request_and_is_asked_again_when_it_is_back(
    replicas, sample
):
    first, second = replicas.processes
    async with _asking(replicas, sample) as replies:
        await asyncio.sleep(0.3)
        replicas.processes[first].kill()
        await asyncio.sleep(1)
    taken_over = len(replies)
    await replicas.processes[first].wait()
    await replicas.start(first)
    await replicas.until_live(first, 1)
    replies += [await replicas.rerank(sample) for _ in range(10)]

    assert {_said(reply) for reply in replies} == {(1, KIND)}
    tries = replicas.proxy.asked()
    assert [statuses[-1] for _, statuses in tries] == ["200"] * len(replies)
    assert any(len(addresses) == 2 for addresses, _ in tries[:taken_over])
    assert f"127.0.0.1:{first}" in {addresses[-1] for addresses, _ in tries[taken_over:]}


def _said(reply: httpx.Response) -> tuple[int, int]:
    """The version, and the index of the document that it finds best."""
    body = reply.raise_for_status().json()
    return body["model"]["version"], body["results"][0]["index"]


@asynccontextmanager
async def _asking(replicas: Replicas, sample: Any) -> AsyncIterator[list[httpx.Response]]:
    """Four clients that ask one request after the other until the end of the block."""
    replies: list[httpx.Response] = []
    is_over = asyncio.Event()

    async def client() -> None:
        while not is_over.is_set():
            replies.append(await replicas.rerank(sample))

    async with asyncio.TaskGroup() as clients:
        for _ in range(4):
            clients.create_task(client())
        yield replies
        is_over.set()


async def test_what_one_replica_refuses_the_other_is_asked_for():
    async with receiving() as busy, receiving() as free:
        busy.reply, free.reply = lambda _: BUSY, lambda _: (204, {})
        with nginx((busy.port, free.port)) as proxy:
            async with httpx.AsyncClient(base_url=proxy.url) as client:
                replies = [await client.post("/score", json={"n": n}) for n in range(8)]

    assert {reply.status_code for reply in replies} == {204}
    assert len(free.got) == 8
    assert busy.got


async def test_when_both_refuse_the_client_is_told_so_however_often():
    async with receiving() as one, receiving() as other:
        one.reply = other.reply = lambda _: BUSY
        with nginx((one.port, other.port)) as proxy:
            async with httpx.AsyncClient(base_url=proxy.url) as client:
                replies = [await client.post("/score", json={"n": n}) for n in range(30)]

    assert {(reply.status_code, reply.headers["retry-after"]) for reply in replies} == {(503, "3")}


async def test_the_metrics_of_a_replica_are_not_passed_on():
    async with receiving() as one, receiving() as other:
        with nginx((one.port, other.port)) as proxy:
            async with httpx.AsyncClient(base_url=proxy.url) as client:
                reply = await client.get("/metrics")

    assert reply.status_code == 404
    assert one.got + other.got == []
