"""Replies leave in one write, and every kind of reply still arrives whole."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from shared.web.one_write import OneWriteProtocol, _Gathering

BIG = b"x" * 5_000_000


class Written:
    """A transport that remembers what was written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.get_extra_info = self.is_closing = lambda *_: None
        self.pause_reading = self.resume_reading = self.close = lambda: None

    def write(self, data: bytes) -> None:
        self.writes.append(data)


async def slow_parts() -> AsyncIterator[bytes]:
    for part in (b"one ", b"two ", b"three"):
        yield part
        await asyncio.sleep(0.01)


app = FastAPI(openapi_url=None)
app.add_route("/text", lambda _: PlainTextResponse("hello"), methods=["GET", "HEAD"])
app.add_route("/nothing", lambda _: Response(status_code=204))
app.add_route("/empty", lambda _: Response(b""))
app.add_route("/stream", lambda _: StreamingResponse(slow_parts()))
app.add_route("/big", lambda _: Response(BIG))
app.add_route("/odd", lambda _: Response(b"HTTP/1.1 in a body\r\n\r\n"))


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, http=OneWriteProtocol, ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/text", 200, b"hello"),
        ("HEAD", "/text", 200, b""),
        ("GET", "/nothing", 204, b""),
        ("GET", "/empty", 200, b""),
        ("GET", "/stream", 200, b"one two three"),
        ("GET", "/big", 200, BIG),
        ("GET", "/odd", 200, b"HTTP/1.1 in a body\r\n\r\n"),
    ],
)
async def test_every_kind_of_reply_arrives_and_the_connection_goes_on(method, path, status, body):
    async with served() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        for _ in range(2):
            reply = await client.request(method, path)
            assert (reply.status_code, reply.content) == (status, body)


async def test_a_head_and_its_body_are_one_write():
    transport = Written()
    gathering = _Gathering(transport)

    gathering.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    gathering.write(b"hello")

    assert transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]


async def test_a_head_whose_body_does_not_come_at_once_leaves_alone():
    transport = Written()
    gathering = _Gathering(transport)

    gathering.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.sleep(0)
    gathering.write(b"later")

    assert transport.writes == [b"HTTP/1.1 200 OK\r\n\r\n", b"later"]


async def test_closing_leaves_nothing_behind():
    transport = Written()
    gathering = _Gathering(transport)

    gathering.write(b"HTTP/1.1 200 OK\r\n\r\n")
    gathering.close()

    assert transport.writes == [b"HTTP/1.1 200 OK\r\n\r\n"]
