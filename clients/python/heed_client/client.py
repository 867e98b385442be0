"""The two clients."""

import asyncio
from pathlib import Path
from typing import Self, Unpack

import httpx

from heed_client.errors import HeedMisuse
from heed_client.fields import InteractionFields
from heed_client.interaction import AsyncInteraction, Interaction
from heed_client.options import Options
from heed_client.outbox import Outbox
from heed_client.resources import AsyncFeedback, AsyncInteractions, Feedback, Interactions
from heed_client.retrying import Retries
from heed_client.senders import AsyncSender, Sender
from heed_client.settings import FEEDBACK_URL, find_service
from heed_client.timing import Clock


class Heed:
    """Sends feedback and waits for the reply, or leaves it to an outbox.

    Args:
        url: the feedback API; else `HEED_URL`, else http://127.0.0.1:8000.
        api_key: else `HEED_API_KEY`.
        outbox: a file, or an `Outbox`: posts are then on disk when a call returns, and sent later.
        timeout_s: the most one try waits for the service to go on.
        deadline_s: the most one call takes, with all its tries.
        transport: how httpx reaches the network, for proxies and certificates of your own.
        clock: the time; only tests need another one.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        outbox: Outbox | Path | str | None = None,
        timeout_s: float = 10.0,
        deadline_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = _options(url, api_key, timeout_s, deadline_s, clock)
        self._sender = Sender(options, outbox=_outbox(outbox, clock), transport=transport)
        self.feedback = Feedback(self._sender)
        self.interactions = Interactions(self._sender)
        self.prefer = self.feedback.prefer

    def __repr__(self) -> str:
        return f"Heed({self._sender.options.service.url!r})"

    @property
    def outbox(self) -> Outbox:
        """The outbox of this client.

        Raises:
            HeedMisuse: it has none.
        """
        return _required(self._sender.outbox)

    def interaction(self, prompt: str, **fields: Unpack[InteractionFields]) -> Interaction:
        """A block in which the response to a prompt comes about; see `Interaction`."""
        return Interaction(self._sender, prompt, fields)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Whether nothing waits in the outbox any more; always True without one."""
        outbox = self._sender.outbox
        return outbox is None or outbox.flush(timeout_s)

    def close(self) -> None:
        """Flush the outbox for a few seconds, and close all connections."""
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class AsyncHeed:
    """The same as `Heed`, to be awaited, in one event loop. Arguments are those of `Heed`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        outbox: Outbox | Path | str | None = None,
        timeout_s: float = 10.0,
        deadline_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        options = _options(url, api_key, timeout_s, deadline_s, clock)
        self._sender = AsyncSender(options, outbox=_outbox(outbox, clock), transport=transport)
        self.feedback = AsyncFeedback(self._sender)
        self.interactions = AsyncInteractions(self._sender)
        self.prefer = self.feedback.prefer

    def __repr__(self) -> str:
        return f"AsyncHeed({self._sender.options.service.url!r})"

    @property
    def outbox(self) -> Outbox:
        """The outbox of this client; its methods block, `flush` here does not.

        Raises:
            HeedMisuse: it has none.
        """
        return _required(self._sender.outbox)

    def interaction(self, prompt: str, **fields: Unpack[InteractionFields]) -> AsyncInteraction:
        """A block in which the response to a prompt comes about; see `AsyncInteraction`."""
        return AsyncInteraction(self._sender, prompt, fields)

    async def flush(self, timeout_s: float = 10.0) -> bool:
        """Whether nothing waits in the outbox any more; always True without one."""
        outbox = self._sender.outbox
        return outbox is None or await asyncio.to_thread(outbox.flush, timeout_s)

    async def close(self) -> None:
        """Flush the outbox for a few seconds, and close all connections."""
        await self._sender.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()


def _options(
    url: str | None,
    api_key: str | None,
    timeout_s: float,
    deadline_s: float,
    clock: Clock | None,
) -> Options:
    service = find_service(url, api_key, FEEDBACK_URL)
    retries = Retries(deadline_s=deadline_s)
    return Options(service, timeout_s=timeout_s, retries=retries, clock=clock or Clock())


def _outbox(given: Outbox | Path | str | None, clock: Clock | None) -> Outbox | None:
    if given is None or isinstance(given, Outbox):
        return given
    return Outbox(given, clock=clock)


def _required(outbox: Outbox | None) -> Outbox:
    if outbox is None:
        raise HeedMisuse("This client has no outbox; make it with outbox=Path(...).")
    return outbox
