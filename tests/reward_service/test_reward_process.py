"""The service as a process, and clients that leave or cannot wait."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from shared.db.secret_check import claim_or_refuse


@pytest.fixture
def environment(deployment) -> dict[str, str]:
    settings = deployment.settings
    return {
        "PATH": os.environ["PATH"],  # noqa: TID251 - handed on
        "HEED_DATABASE_URL": settings.database_url.get_secret_value(),
        "HEED_SECRET_KEY": settings.secret_key.get_secret_value(),
        "HEED_DATA_DIR": str(settings.data_dir),
        "HEED_REWARD_PORT": str(_free_port()),
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@asynccontextmanager
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.reward_service", env=environment, stderr=subprocess.PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def is_up(client: httpx.AsyncClient, path: str) -> bool:
    try:
        return (await client.get(path)).status_code == 200
    except httpx.TransportError:
        return False


async def until_up(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(60):
        while not await is_up(client, path):  # noqa: ASYNC110 - another process starts
            await asyncio.sleep(0.05)


async def test_sigterm_lets_a_request_under_way_finish(deployment, live_kind, environment, sample):
    headers = {"Authorization": f"Bearer {await deployment.key('score')}"}
    url = f"http://127.0.0.1:{environment['HEED_REWARD_PORT']}"
    body = {"query": sample.prompt, "documents": [f"{sample.kind} {n}" for n in range(150)]}
    async with (
        process(environment) as service,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client,
    ):
        await until_up(client, "/readyz?require=model")
        asking = asyncio.create_task(client.post("/rerank", json=body))
        await asyncio.sleep(0.2)
        service.send_signal(signal.SIGTERM)
        reply = await asking
        async with asyncio.timeout(30):
            code = await service.wait()

    assert (reply.status_code, len(reply.json()["results"])) == (200, 150)
    assert code in {0, -signal.SIGTERM}  # uvicorn ends by the signal it was sent


async def test_a_taken_port_is_one_line_and_a_failure(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment["HEED_REWARD_PORT"] = str(taken.getsockname()[1])
        async with process(environment) as service:
            async with asyncio.timeout(60):
                _, errors = await service.communicate()

    assert service.returncode == 1
    assert errors.decode().count("\n") == 1
    assert "HEED_REWARD_PORT" in errors.decode()


async def test_an_unmigrated_database_is_one_line_and_a_failure(environment, postgres_url):
    environment["HEED_DATABASE_URL"] = postgres_url
    async with process(environment) as service:
        async with asyncio.timeout(60):
            _, errors = await service.communicate()

    last = errors.decode().splitlines()[-1]
    assert service.returncode == 1
    assert "heed migrate" in last
    assert "Traceback" not in errors.decode()


async def test_a_deadline_ends_the_wait_and_the_work(serve, live_kind, sample):
    documents = [f"{sample.kind} {number}" * 10 for number in range(300)]

    async with serve() as client:
        await client.until_live(1)
        client.http.headers["X-Deadline-Ms"] = "50"
        late = await client.rerank(*documents)
        waiting = await client.get("/metrics")
        del client.http.headers["X-Deadline-Ms"]
        after = await client.rerank(sample.kind)

    assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded")
    assert "heed_reward_waiting_tokens" in waiting.text
    assert after.status_code == 200


async def test_the_work_of_a_client_who_hangs_up_is_dropped(serve, live_kind, sample):
    documents = [f"{sample.kind} {number}" * 10 for number in range(300)]

    async with serve() as client:
        await client.until_live(1)
        with pytest.raises(httpx.ReadTimeout):
            await client.http.post(
                "/rerank", json={"query": sample.prompt, "documents": documents}, timeout=0.3
            )
        async with asyncio.timeout(10):
            while 'status="499"' not in (await client.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        metrics = (await client.get("/metrics")).text

    dropped = metrics.split("\nheed_reward_dropped_total ")[1].split("\n")[0]
    assert float(dropped) > 10


async def test_a_full_queue_is_refused_with_a_time_to_come_back(serve, live_kind, sample):
    documents = [f"{sample.kind} {number}" * 5 for number in range(100)]

    async with serve(reward_queue_tokens=1024, reward_workers=1) as client:
        await client.until_live(1)
        replies = await asyncio.gather(*(client.rerank(*documents) for _ in range(6)))

    refused = [reply for reply in replies if reply.status_code == 503]
    assert {reply.status_code for reply in replies} == {200, 503}
    assert {reply.json()["code"] for reply in refused} == {"overloaded"}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)


async def test_a_database_of_another_secret_is_one_line_and_a_failure(deployment, environment):
    await claim_or_refuse(deployment.sessions, b"of another secret")
    async with process(environment) as service:
        async with asyncio.timeout(60):
            _, errors = await service.communicate()

    last = errors.decode().splitlines()[-1]
    assert service.returncode == 1
    assert "belongs to another HEED_SECRET_KEY" in last
    assert "Traceback" not in errors.decode()
