"""One attempt to deliver: a POST over a checked connection, and what became of it."""

import asyncio
import ssl
import time
from dataclasses import dataclass, replace

import httpcore
import httpx

from services.feedback_api.webhooks.addresses import (
    AddressRefused,
    Allowed,
    CheckedBackend,
    Resolver,
)

TIMEOUT_S = 5.0
MAX_READ_BYTES = 4096
MAX_RETRY_AFTER_S = 24 * 3600.0
GONE = 410
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        status: the receiver's HTTP status; None when there was no reply.
        error: why it did not succeed, in words without anything the receiver sent; None if it did.
        retry_after_s: how long the receiver asked to be left alone, seconds.
        seconds: how long the attempt took.
    """

    status: int | None = None
    error: str | None = None
    retry_after_s: float | None = None
    seconds: float = 0.0

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None


class Sender:
    """Posts bodies to receivers: no proxy, no redirect, no cookie, five seconds in all."""

    def __init__(
        self,
        allowed: Allowed,
        resolve: Resolver,
        *,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._backend = CheckedBackend(allowed, resolve)
        self._tls = tls or httpx.create_ssl_context()
        self._allowed = allowed
        self._timeout_s = timeout_s

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        """Try once; every failure is an outcome."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after_s = await self._post(url, headers, body)
        except TimeoutError:
            outcome = Outcome(error=f"The receiver did not reply within {self._timeout_s:g} s.")
        except AddressRefused as error:
            outcome = Outcome(error=f"Nothing was sent: {error}.")
        except (*_FAILURES, OSError, ValueError) as error:
            outcome = Outcome(error=f"The connection failed ({type(error).__name__}).")
        else:
            outcome = _judged(status, retry_after_s)
        return replace(outcome, seconds=time.monotonic() - started)

    async def _post(
        self, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, float | None]:
        """Status and Retry-After; a connection of its own, so that every attempt is checked."""
        target = target_of(url, self._allowed)
        given = [("host", target.netloc), *headers.items()]
        async with (
            httpcore.AsyncConnectionPool(
                self._tls, max_connections=1, network_backend=self._backend
            ) as pool,
            pool.stream("POST", target.url, headers=given, content=body) as reply,
        ):
            await _read_a_little(reply)
            return reply.status, _retry_after_s(reply.headers)


@dataclass(frozen=True)
class Target:
    """A URL that may be called, read once: what is checked is what is connected to."""

    host: str
    url: httpcore.URL
    netloc: str


def target_of(url: str, allowed: Allowed) -> Target:
    """The target of a URL: https, or http to a host on the allow list itself.

    Raises:
        AddressRefused: it is neither, or no such URL at all.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise AddressRefused("it is not a valid URL") from None
    host, port = parsed.raw_host.decode("ascii"), parsed.port
    if not host or (port is not None and not 0 < port < 65536):
        raise AddressRefused("it has no valid host and port")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and allowed.names(host)):
        raise AddressRefused("it is not https, and its host is not on HEED_WEBHOOK_ALLOW")
    asked = httpcore.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=port, target=parsed.raw_path
    )
    return Target(host, asked, parsed.netloc.decode("ascii"))


async def _read_a_little(reply: httpcore.Response) -> None:
    """So that a receiver that is still writing is not cut off; what it says is not looked at."""
    read = 0
    async for part in reply.aiter_stream():
        read += len(part)
        if read >= MAX_READ_BYTES:
            return


def _judged(status: int, retry_after_s: float | None) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status)
    asked = retry_after_s if status in (429, 503) else None
    return Outcome(status, f"The receiver replied {status}.", asked)


def _retry_after_s(headers: list[tuple[bytes, bytes]]) -> float | None:
    """Seconds of a `Retry-After` in its numeric form, at most a day."""
    given = {name.lower(): value for name, value in headers}.get(b"retry-after", b"")
    return min(float(given), MAX_RETRY_AFTER_S) if given.isdigit() else None
