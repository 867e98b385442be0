"""A real HTTP receiver of webhooks on 127.0.0.1, which keeps what it got."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Headers = dict[str, str]


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: Headers
    body: bytes


@dataclass
class Receiver:
    """What came in, and how to reply to the n-th request (from 0): status and more headers."""

    port: int = 0
    scheme: str = "http"
    got: list[Received] = field(default_factory=list)
    reply: Callable[[int], tuple[int, Headers]] = lambda _: (204, {})
    delay_s: float = 0.0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in head[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.got.append(Received(head[0].split(" ")[1], headers, body))
            status, more = self.reply(len(self.got) - 1)
            await asyncio.sleep(self.delay_s)
            lines = [f"HTTP/1.1 {status} Said", "content-length: 0", "connection: close"]
            lines += [f"{name}: {value}" for name, value in more.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver that listens inside the block."""
    receiver = Receiver(scheme="https" if tls else "http")
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
