"""When to try again, and when to stop: exponential backoff with full jitter and a deadline.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: each pause is drawn
uniformly from 0 to the capped exponential, which spreads many clients best.
"""

import random
from dataclasses import dataclass, field

import httpx

from heed_client.errors import HeedProblem
from heed_client.timing import Clock

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
# A request that never reached the network is wrong, and stays wrong.
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)


@dataclass(frozen=True)
class Retries:
    """How long one call may take in total, and how it waits between tries, in seconds."""

    deadline_s: float = 30.0
    first_s: float = 0.2
    most_s: float = 5.0
    draw: random.Random = field(default_factory=random.SystemRandom, repr=False)

    def pause_s(self, failures: int, retry_after_s: float | None = None) -> float:
        """The pause after so many failures; what the service asked for is waited at least."""
        jitter = self.draw.uniform(0, min(self.most_s, self.first_s * 2 ** min(failures, 16)))
        return jitter if retry_after_s is None else retry_after_s + min(jitter, 1.0)


class Attempts:
    """The tries of one call."""

    def __init__(self, retries: Retries, clock: Clock) -> None:
        self._retries = retries
        self._clock = clock
        self._end = clock.monotonic() + retries.deadline_s
        self._failures = 0

    def remaining_s(self) -> float:
        """How long the call may still take; never quite 0, which would mean no limit."""
        return max(0.001, self._end - self._clock.monotonic())

    def pause_after(self, error: Exception) -> float | None:
        """How long to wait before trying again; None when that is of no use or too late."""
        if not is_passing(error):
            return None
        asked = error.retry_after_s if isinstance(error, HeedProblem) else None
        pause = self._retries.pause_s(self._failures, asked)
        self._failures += 1
        return pause if self._clock.monotonic() + pause < self._end else None


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed when it is sent again."""
    if isinstance(error, HeedProblem):
        return error.status in RETRIED_STATUSES
    return isinstance(error, httpx.TransportError) and not isinstance(error, HOPELESS)
