"""Clients that take little of the machine they measure: HTTP/1.1 by hand on one event loop.

Every connection asks its next request when it has the reply to the one before (closed loop), and a
run ends when the last reply is in: all work that was asked for is in its time. A parser of its own
costs about a tenth of what httpx takes; what the load costs is in every result (`load_cpu_s`).
"""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Reply:
    """What came back, and after how many seconds; status 0 is a connection that failed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass(frozen=True)
class Target:
    """Where requests go."""

    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, body: bytes) -> bytes:
        """The bytes of one POST."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


class Connection:
    """One kept-open connection; a lost one is opened again with the next request."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> Reply:
        """The reply, whatever it is."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, headers, said = await self._ask(self._target.request(body))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.close()
            return Reply(0, {"error": type(error).__name__}, b"", time.perf_counter() - began)
        if headers.get("connection") == "close":
            self.close()
        return Reply(status, headers, said, time.perf_counter() - began)

    async def _ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """A server may close a connection that was idle; then a new one is asked, as clients do."""
        if self._streams is not None:
            try:
                return await self._exchange(request)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
                self.close()
        return await self._exchange(request)

    async def _exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._target.port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split(" ")[1]), headers, body

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass(frozen=True)
class Run:
    """What some clients saw.

    Attributes:
        seconds: from the first request to the last reply.
        latencies_ms: of the replies with status 200.
        statuses: how often each status came; 0 is a failed connection.
        load_cpu_s: CPU seconds that the clients took themselves.
    """

    seconds: float
    latencies_ms: Sequence[float]
    statuses: Mapping[int, int]
    load_cpu_s: float

    @property
    def per_s(self) -> float:
        """Replies with status 200 a second."""
        return self.statuses.get(200, 0) / self.seconds

    @property
    def failed(self) -> int:
        """Requests that got anything else."""
        return sum(count for status, count in self.statuses.items() if status != 200)

    @property
    def p50_ms(self) -> float:
        """Median time to a reply."""
        return statistics.median(self.latencies_ms) if self.latencies_ms else float("nan")


Seen = Callable[[Reply], None]


@asynccontextmanager
async def connections(target: Target, number: int) -> AsyncIterator[list[Connection]]:
    """Connections that are closed at the end."""
    found = [Connection(target) for _ in range(number)]
    try:
        yield found
    finally:
        for connection in found:
            connection.close()


def closed_loop(target: Target, bodies: Iterable[bytes], *, clients: int, seconds: float) -> Run:
    """So many clients post one body after the other until the time, or the bodies, are over.

    An iterator goes on where it was left: what a service remembers is then not asked again.
    """
    return asyncio.run(_closed_loop(target, iter(bodies), clients=clients, seconds=seconds))


async def _closed_loop(
    target: Target, bodies: Iterator[bytes], *, clients: int, seconds: float
) -> Run:
    replies: list[Reply] = []
    cpu, began = time.process_time(), time.perf_counter()

    async def ask(connection: Connection) -> None:
        for body in bodies:
            replies.append(await connection.post(body))
            if time.perf_counter() - began > seconds:
                return

    async with connections(target, clients) as open_ones, asyncio.TaskGroup() as tasks:
        for connection in open_ones:
            tasks.create_task(ask(connection))
    return run_of(replies, time.perf_counter() - began, time.process_time() - cpu)


def run_of(replies: Sequence[Reply], seconds: float, load_cpu_s: float) -> Run:
    """The sum of some replies."""
    good = [reply.seconds * 1000 for reply in replies if reply.status == 200]
    statuses = Counter(reply.status for reply in replies)
    return Run(seconds, good, dict(statuses), load_cpu_s)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies, 0-1; nan when there are none."""
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
