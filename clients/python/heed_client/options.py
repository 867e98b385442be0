"""How a client reaches its service: address, key, limits, and connections that are kept."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import httpx

from heed_client.retrying import Attempts, Retries
from heed_client.settings import Service
from heed_client.timing import Clock

Http = TypeVar("Http")
CONNECT_S = 5.0


@dataclass(frozen=True)
class Options:
    """How a client sends; times in seconds."""

    service: Service
    timeout_s: float = 10.0
    retries: Retries = field(default_factory=Retries)
    clock: Clock = field(default_factory=Clock)

    def http(self) -> dict[str, Any]:
        """What an HTTP client is made of."""
        return {
            "base_url": self.service.url,
            "headers": {
                "Authorization": f"Bearer {self.service.api_key.get_secret_value()}",
                "User-Agent": f"heed-client/{version('heed-client')}",
            },
            "timeout": httpx.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s)),
        }

    def timeout(self, attempts: Attempts) -> httpx.Timeout:
        """The limits of one try: the usual ones, or what is left of the call's time."""
        each = min(self.timeout_s, attempts.remaining_s())
        return httpx.Timeout(each, connect=min(CONNECT_S, each))


class Pool(Generic[Http]):
    """One connection pool for each process: two processes must not write into one connection."""

    def __init__(self, make: Callable[[], Http]) -> None:
        self._make = make
        self._pools = {os.getpid(): make()}

    def get(self) -> Http:
        """This process's pool. A forked child leaves its parent's alone, and open."""
        process = os.getpid()
        if process not in self._pools:
            self._pools[process] = self._make()
        return self._pools[process]

    def take(self) -> Http | None:
        """This process's pool, to close it."""
        return self._pools.pop(os.getpid(), None)
