"""What every service gets from shared.web."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from shared.errors import ConfigError, HeedError, LimitExceeded, NotFound, Unavailable
from shared.web import install, problems, serve, status_of

CAP = 200


class Body(BaseModel):
    number: int


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install(app, service="test", max_body_bytes=CAP, cors_origins=["https://app.example"])

    @app.post("/numbers/{name}", responses=problems(NotFound))
    async def post_number(name: str, body: Body, factor: int = 1) -> int:
        if name == "limited":
            raise LimitExceeded("Too many numbers; wait.", retry_after_s=7)
        return body.number * factor

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("the patient is called Miller")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://heed") as client:
        yield client


async def test_an_error_is_a_problem_with_code_and_request_id(client):
    reply = await client.post(
        "/numbers/limited", json={"number": 1}, headers={"X-Request-ID": "abc-1"}
    )

    assert reply.status_code == 429
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.headers["retry-after"], reply.headers["x-request-id"]) == ("7", "abc-1")
    problem = reply.json()
    assert (problem["code"], problem["request_id"]) == ("limit_exceeded", "abc-1")
    assert problem["detail"] == "Too many numbers; wait."


async def test_a_request_id_that_could_forge_a_log_line_is_replaced(client):
    reply = await client.get("/healthz", headers={"X-Request-ID": 'a" b'})

    assert reply.headers["x-request-id"].isalnum()


async def test_each_wrong_place_has_a_pointer(client):
    body = await client.post("/numbers/x", json={"number": "many"})
    query = await client.post("/numbers/x?factor=much", json={"number": 1})

    assert [item["pointer"] for item in body.json()["errors"]] == ["/number"]
    assert [item["pointer"] for item in query.json()["errors"]] == ["?factor"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_the_frameworks_own_refusals_are_problems_too(client, method, path, status, code):
    reply = await client.request(method, path)

    assert (reply.status_code, reply.json()["code"]) == (status, code)


async def test_a_body_over_the_cap_is_refused_with_and_without_its_length(client):
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"number": 1, "x": "'
        yield b"x" * CAP + b'"}'

    declared = await client.post("/numbers/x", content=b"x" * (CAP + 1))
    headers = {"Content-Type": "application/json"}
    streamed = await client.post("/numbers/x", content=chunks(), headers=headers)

    codes = [(reply.status_code, reply.json()["code"]) for reply in (declared, streamed)]
    assert codes == [(413, "too_large")] * 2


async def test_an_unexpected_error_tells_nothing_and_logs_no_text(client, caplog):
    reply = await client.get("/broken")

    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "Miller" not in reply.text + caplog.text


async def test_requests_are_counted_by_route_and_never_by_path(client):
    await client.post("/numbers/miller", json={"number": 1})

    metrics = (await client.get("/metrics")).text

    assert 'route="/numbers/{name}",status="200"' in metrics
    assert "miller" not in metrics


async def test_only_listed_origins_may_read_replies(client):
    allowed = await client.get("/healthz", headers={"Origin": "https://app.example"})
    other = await client.get("/healthz", headers={"Origin": "https://evil.example"})

    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/numbers/limited", b'{"number": 1}', 429),
        ("/numbers/a", b"x" * (CAP + 1), 413),
        ("/numbers/a", b"x", 400),
        ("/broken", b"", 405),
    ],
)
async def test_a_page_may_read_refusals_too(client, path, body, status):
    headers = {"Origin": "https://app.example", "Content-Type": "application/json"}

    reply = await client.post(path, content=body, headers=headers)

    assert reply.status_code == status
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    assert "Origin" in reply.headers["vary"]
    assert "access-control-allow-credentials" not in reply.headers


async def test_a_page_may_read_that_something_unexpected_happened(client):
    reply = await client.get("/broken", headers={"Origin": "https://app.example"})

    assert reply.status_code == 500
    assert reply.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.parametrize(
    ("origin", "method", "header", "allowed"),
    [
        ("https://app.example", "POST", "authorization", True),
        ("https://app.example", "POST", "x-widget-token", True),
        ("https://app.example", "DELETE", "authorization", False),
        ("https://app.example", "POST", "x-other", False),
        ("https://evil.example", "POST", "authorization", False),
    ],
)
async def test_a_preflight_allows_only_what_pages_need(client, origin, method, header, allowed):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": header,
    }

    reply = await client.options("/numbers/a", headers=asked)

    assert reply.status_code == (200 if allowed else 400)


async def test_the_description_lists_errors_as_problems(client):
    responses = (await client.get("/openapi.json")).json()["paths"]["/numbers/{name}"]["post"][
        "responses"
    ]

    for status in ("404", "422"):
        assert list(responses[status]["content"]) == ["application/problem+json"]


def test_an_error_without_a_status_of_its_own_has_its_parents():
    class Unplugged(Unavailable):
        pass

    assert (status_of(Unplugged), status_of(HeedError)) == (503, 500)


def test_a_taken_port_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=f"{port}.*HEED_TEST_PORT"):
            serve(FastAPI, "127.0.0.1", port, port_setting="HEED_TEST_PORT")


SLOW_SERVICE = """
import asyncio, sys
from contextlib import asynccontextmanager
from fastapi import FastAPI
from shared.errors import SchemaOutdated
from shared.web import install, serve, serve_or_exit

@asynccontextmanager
async def lifespan(app):
    if sys.argv[2] == "refuse":
        raise SchemaOutdated("The database is old: run `heed migrate`.")
    if sys.argv[2] == "break":
        raise ValueError("what somebody wrote")
    yield
    if sys.argv[2] == "break at the end":
        raise ValueError("what somebody wrote")

def make():
    app = FastAPI(lifespan=lifespan)
    install(app, service="slow")

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.5)
        return "done"

    return app

serve_or_exit(lambda: serve(make, "127.0.0.1", int(sys.argv[1]), port_setting="HEED_X_PORT"))
"""


async def test_a_running_request_is_finished_after_sigterm(unused_port):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SLOW_SERVICE,
        str(unused_port),
        "serve",
        stderr=asyncio.subprocess.PIPE,
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_port}") as client:
        await _until_healthy(client)
        running = asyncio.create_task(client.get("/slow"))
        await asyncio.sleep(0.2)

        os.kill(process.pid, signal.SIGTERM)

        reply = await running
    _, errors = await process.communicate()
    assert reply.json() == "done"
    assert b"Traceback" not in errors


async def test_a_service_that_cannot_start_says_why_in_one_line(unused_port):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SLOW_SERVICE,
        str(unused_port),
        "refuse",
        stderr=asyncio.subprocess.PIPE,
    )

    _, errors = await process.communicate()

    assert process.returncode == 1
    assert errors.decode().splitlines()[-1] == "heed: The database is old: run `heed migrate`."
    assert b"Traceback" not in errors


@pytest.mark.parametrize(("level", "is_told"), [("INFO", False), ("DEBUG", True)])
async def test_an_unexpected_failure_of_the_start_is_one_line_unless_asked(
    unused_port, level, is_told
):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SLOW_SERVICE,
        str(unused_port),
        "break",
        env={"HEED_LOG_LEVEL": level},
        stderr=asyncio.subprocess.PIPE,
    )

    _, errors = await process.communicate()

    assert process.returncode == 1
    assert (b"Traceback" in errors) is is_told
    assert (b"what somebody wrote" in errors) is is_told
    if not is_told:
        said = errors.decode().splitlines()[-1]
        assert said.startswith("heed: stopped by an unexpected ValueError at <string>:")


async def test_an_unexpected_failure_of_the_end_is_told_without_its_message(unused_port):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SLOW_SERVICE,
        str(unused_port),
        "break at the end",
        stderr=asyncio.subprocess.PIPE,
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_port}") as client:
        await _until_healthy(client)

    process.terminate()
    _, errors = await process.communicate()

    assert b"ValueError at <string>:" in errors
    assert b"what somebody wrote" not in errors


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _until_healthy(client: httpx.AsyncClient) -> None:
    for _ in range(500):
        try:
            if (await client.get("/healthz")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.02)
    pytest.fail("the service does not answer")
