"""The two thin senders: one blocks, one awaits. What is sent and how it is retried is shared."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import httpx

from heed_client.calls import Call
from heed_client.errors import HeedProblem, HeedUnreachable
from heed_client.options import Options, Pool
from heed_client.outbox import Outbox
from heed_client.reading import Listing
from heed_client.replies import read
from heed_client.results import Result
from heed_client.retrying import Attempts

R = TypeVar("R", bound=Result)


def _request(client: httpx.Client | httpx.AsyncClient, call: Call[Any], limits: Any) -> Any:
    headers = {"Content-Type": "application/json"} if call.content is not None else {}
    if call.method == "POST":
        headers["Idempotency-Key"] = call.key
    return client.build_request(
        call.method,
        call.path,
        content=call.content,
        params={name: value for name, value in call.params.items() if value is not None},
        headers=headers,
        timeout=limits,
    )


def _unreachable(error: Exception) -> HeedUnreachable:
    return HeedUnreachable(f"No reply from Heed: {type(error).__name__}. Try again later.")


class Sender:
    """Sends calls and waits for the reply."""

    def __init__(
        self,
        options: Options,
        *,
        outbox: Outbox | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.options = options
        self.outbox = outbox
        self._pool = Pool(lambda: httpx.Client(transport=transport, **options.http()))
        if outbox is not None:
            outbox.start(self.send_once)

    def send(self, call: Call[R]) -> R:
        """The call's result.

        Raises:
            HeedProblem: the service refused it.
            HeedUnreachable: no reply came within the deadline.
        """
        if self.outbox is not None and call.posts is not None:
            return call.queued(self.outbox.put(call.posts))
        attempts = Attempts(self.options.retries, self.options.clock)
        while True:
            try:
                client = self._pool.get()
                reply = client.send(_request(client, call, self.options.timeout(attempts)))
                return read(reply, call.result)
            except (HeedProblem, httpx.RequestError) as error:
                pause = attempts.pause_after(error) if call.is_retried else None
                if pause is None and isinstance(error, HeedProblem):
                    raise
                if pause is None:
                    raise _unreachable(error) from error
            self.options.clock.sleep(pause)

    def iterate(self, listing: Listing[R]) -> Iterator[R]:
        """Row after row, asking for the next page when it is needed."""
        cursor: str | None = None
        while True:
            page = self.send(listing.page(cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def send_once(self, path: str, content: bytes) -> httpx.Response:
        """One try of an outbox, which has its own patience."""
        headers = {"Content-Type": "application/json"}
        return self._pool.get().post(path, content=content, headers=headers)

    def close(self) -> None:
        """Close the outbox, which waits a little for what it holds, and the connections."""
        if self.outbox is not None:
            self.outbox.close()
        if (pool := self._pool.take()) is not None:
            pool.close()


class AsyncSender:
    """Sends calls and awaits the reply."""

    def __init__(
        self,
        options: Options,
        *,
        outbox: Outbox | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.options = options
        self.outbox = outbox
        self._pool = Pool(lambda: httpx.AsyncClient(transport=transport, **options.http()))
        # The outbox's thread is the same for both clients: no event loop has to be free for it.
        self._blocking = Sender(options, outbox=outbox) if outbox is not None else None

    async def send(self, call: Call[R]) -> R:
        """The call's result.

        Raises:
            HeedProblem: the service refused it.
            HeedUnreachable: no reply came within the deadline.
        """
        if self.outbox is not None and call.posts is not None:
            return call.queued(await asyncio.to_thread(self.outbox.put, call.posts))
        attempts = Attempts(self.options.retries, self.options.clock)
        while True:
            try:
                client = self._pool.get()
                reply = await client.send(_request(client, call, self.options.timeout(attempts)))
                return read(reply, call.result)
            except (HeedProblem, httpx.RequestError) as error:
                pause = attempts.pause_after(error) if call.is_retried else None
                if pause is None and isinstance(error, HeedProblem):
                    raise
                if pause is None:
                    raise _unreachable(error) from error
            await self.options.clock.sleep_async(pause)

    async def iterate(self, listing: Listing[R]) -> AsyncIterator[R]:
        """Row after row, asking for the next page when it is needed."""
        cursor: str | None = None
        while True:
            page = await self.send(listing.page(cursor))
            for row in page.items:
                yield row
            cursor = page.next_cursor
            if cursor is None:
                return

    async def close(self) -> None:
        """Close the outbox, which waits a little for what it holds, and the connections."""
        if self._blocking is not None:
            await asyncio.to_thread(self._blocking.close)
        if (pool := self._pool.take()) is not None:
            await pool.aclose()
