"""Token buckets per API key, per rater and per widget token, in this process's memory.

Each process counts for itself: with n processes behind one address a sender may pass up to n
times as often. A shared count would cost every post a round trip, to guard what the bounded
writer guards already.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.writer import Post
from shared.errors import Detail, LimitExceeded

MAX_BUCKETS = 65_536

Clock = Callable[[], float]


@dataclass(frozen=True)
class Rate:
    """What one sender may do: `per_s` posts a second for long, `burst` at once. 0 is no limit."""

    per_s: float
    burst: int


class Buckets:
    """One bucket for each sender; of more than 65,536, those longest unused are forgotten.

    A bucket is one number: the time at which it will be full again (the generic cell rate
    algorithm of ITU-T I.371, annex A, in its virtual scheduling form), so nothing runs in between.
    """

    def __init__(self, rate: Rate, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._interval_s = 1 / rate.per_s
        self._tolerance_s = (rate.burst - 1) * self._interval_s
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, sender: str) -> float:
        """0.0 when the sender may go on; else in how many seconds it may, and nothing is taken."""
        now = self._clock()
        full_at = self._full_at.get(sender, now)
        wait_s = full_at - now - self._tolerance_s
        if wait_s > 0:
            return wait_s
        self._full_at[sender] = (full_at if full_at > now else now) + self._interval_s
        self._full_at.move_to_end(sender)
        if len(self._full_at) > MAX_BUCKETS:
            self._full_at.popitem(last=False)
        return 0.0

    def __len__(self) -> int:
        return len(self._full_at)


class Limit:
    """One named limit: its buckets, and what a sender beyond it is told."""

    def __init__(self, who: str, rate: Rate, refusals: Counter, clock: Clock) -> None:
        self._who = who
        self._rate = rate
        self._refused = refusals.labels(who)
        self._buckets = Buckets(rate, clock) if rate.per_s else None

    def take(self, sender: str) -> None:
        """Count one post or request.

        Raises:
            LimitExceeded: the sender has to wait; `retry_after_s` says how long.
        """
        if self._buckets is not None and (wait_s := self._buckets.take(sender)):
            self._refused.inc()
            raise self._refusal(wait_s)

    def _refusal(self, wait_s: float) -> LimitExceeded:
        wait = math.ceil(wait_s)
        detail = (
            f"One {self._who.replace('_', ' ')} may send {self._rate.per_s:g} a second, and "
            f"{self._rate.burst} at once. Wait {wait} s and send it again."
        )
        errors = (Detail("", f"{self._who}_limit", detail),)
        return LimitExceeded(detail, errors=errors, retry_after_s=wait)


class Limits:
    """The limits of one process; as a stage of admission, each post counts once."""

    def __init__(
        self,
        settings: FeedbackSettings,
        registry: CollectorRegistry,
        clock: Clock = time.monotonic,
    ) -> None:
        refusals = Counter(
            "heed_limit_refusals",
            "Posts and requests refused by a rate limit.",
            ["limit"],
            registry=registry,
        )
        rates = {
            "key": Rate(settings.limit_key_per_s, settings.limit_key_burst),
            "rater": Rate(settings.limit_rater_per_s, settings.limit_rater_burst),
            "widget_token": Rate(settings.limit_widget_per_s, settings.limit_widget_burst),
        }
        made = {who: Limit(who, rate, refusals, clock) for who, rate in rates.items()}
        self._key, self._rater = made["key"], made["rater"]
        self._widget_token = made["widget_token"]

    def __call__(self, post: Post) -> None:
        """Count a post for its widget token, its rater and the key that sent it.

        Raises:
            LimitExceeded: one of them has to wait.
        """
        if post.widget_token is not None:
            self._widget_token.take(post.widget_token)
        if (rater := post.row.get("clinician_id")) is not None:
            self._rater.take(rater)
        # Last, so that one rater who is refused uses up nothing of what all of the key share.
        self._key.take(post.key_id)

    def count_request(self, key_id: str) -> None:
        """Count a request that posts nothing.

        Raises:
            LimitExceeded: the key has to wait.
        """
        self._key.take(key_id)
