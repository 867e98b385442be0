"""Which addresses a webhook may reach, checked on the very address that is connected to.

A name is resolved once per connection, every address it has is checked, and the connection goes to
one of those checked. A name that resolves to something else a moment later changes nothing.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION

from shared.errors import ConfigError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# RFC 6890 and its registries; listed here because what `ipaddress` calls global changes with Python
# and includes multicast. The last one is public and answers as the metadata service of its cloud.
_CLOSED_4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "168.63.129.16/32",
    )
]
# Of IPv6 only global unicast is open, without what embeds an IPv4 address or serves documentation.
# Mapped addresses, NAT64, unique local, link-local and multicast all lie outside 2000::/3.
_OPEN_6 = IPv6Network("2000::/3")
_CLOSED_6 = [
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]
_RESOLVING_THREADS = 64
_HOST = re.compile(r"[a-z0-9_.-]+")


class AddressRefused(Exception):
    """A host has an address that webhooks may not reach, or none at all."""


def is_public(address: Address) -> bool:
    """Whether an address is reached over the open internet and belongs to nobody's inside."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _OPEN_6 and not any(address in network for network in _CLOSED_6)


@dataclass(frozen=True)
class Allowed:
    """What `HEED_WEBHOOK_ALLOW` opens beside the public internet: host names and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Allowed":
        """From entries such as `hooks.internal`, `10.1.2.3` and `10.0.0.0/8`.

        Raises:
            ConfigError: an entry is neither a host nor a network.
        """
        networks = [network for entry in entries if (network := _network(entry)) is not None]
        hosts = {entry.lower().rstrip(".") for entry in entries if _network(entry) is None}
        if wrong := sorted(host for host in hosts if not _HOST.fullmatch(host)):
            raise ConfigError(
                f"HEED_WEBHOOK_ALLOW: {wrong[0]!r} is neither a host name nor a network; write "
                "`hooks.internal` or `10.1.0.0/16`, without port or `*`."
            )
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str) -> bool:
        """Whether the host itself is listed, by name or, when it is an address, by network."""
        address = as_address(host)
        if address is not None:
            return self._contains(address)
        return host.lower().rstrip(".") in self.hosts

    def opens(self, host: str, address: Address) -> bool:
        """Whether a connection for this host may go to this address."""
        return is_public(address) or self.names(host) or self._contains(address)

    def _contains(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def as_address(host: str) -> Address | None:
    """A host that is written as an address, in brackets or not; None for a name."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, to checked addresses only.

    TLS is started by httpcore with the name from the URL, so certificate and SNI stay the host's.
    """

    def __init__(self, allowed: Allowed, resolve: Resolver) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first of the host's addresses that accepts one.

        Raises:
            AddressRefused: one of its addresses is closed to webhooks, or it has none.
            httpcore.ConnectError: none of them accepts.
        """
        failure: Exception | None = None
        for address in await self._checked(host, port):
            try:
                return await self._sockets.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or AddressRefused("the host has no address")

    async def _checked(self, host: str, port: int) -> list[Address]:
        addresses = [ip_address(text) for text in await self._resolve(host, port)]
        for address in addresses:
            if not self._allowed.opens(host, address):
                raise AddressRefused(f"{address} is not a public address")
        return addresses

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between retries."""
        await asyncio.sleep(seconds)


class SystemResolver:
    """Asks the system for a host's addresses, in threads of its own.

    A name server that does not reply must not hold the threads that other work waits for: a name
    holds at most one, and what is an address already needs none.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVING_THREADS, thread_name_prefix="webhook-dns")
        self._asked: dict[tuple[str, int], asyncio.Future[Any]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a host.

        Raises:
            AddressRefused: the name does not resolve.
        """
        if (address := as_address(host)) is not None:
            return [str(address)]
        asked = self._asked.get((host, port)) or self._ask(host, port)
        try:
            found = await asyncio.shield(asked)
        except (OSError, ValueError, OverflowError):
            raise AddressRefused("the host name does not resolve") from None
        return list(dict.fromkeys(entry[4][0] for entry in found))

    def _ask(self, host: str, port: int) -> "asyncio.Future[Any]":
        """The addresses to come, for everybody who asks for the same meanwhile."""
        asked: asyncio.Future[Any] = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        self._asked[host, port] = asked

        def forget(done: "asyncio.Future[Any]") -> None:
            del self._asked[host, port]
            if not done.cancelled():
                done.exception()  # whoever asked may have given up

        asked.add_done_callback(forget)
        return asked

    def close(self) -> None:
        """Forget what still waits; threads end when their name server replies or gives up."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
