"""The thread that empties an outbox: one request at a time, backing off while none gets through."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from heed_client.errors import HeedProblem, Problem
from heed_client.outbox.files import locked
from heed_client.outbox.records import Dropped, Waiting
from heed_client.outbox.store import Store
from heed_client.outbox.verdicts import (
    MAX_POSTS,
    TooManyAtOnce,
    Verdicts,
    content_of,
    judge,
    next_batch,
)
from heed_client.retrying import HOPELESS, Retries
from heed_client.timing import Clock

IDLE_S = 5.0  # another process may have left posts behind
SOON_S = 0.5  # the service takes some posts, and these later
SHARED_S = 0.2
ASIDE_S = 0.5
HEADS = 500
log = logging.getLogger("heed_client.outbox")

SendOnce = Callable[[str, bytes], httpx.Response]
Tell = Callable[[Dropped, Problem], None]


class Tally:
    """What this process has done since it started; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"sent": 0, "refused": 0, "dropped": 0, "retried": 0}

    def add(self, what: str, number: int = 1) -> None:
        """Count so many more."""
        with self._lock:
            self._counts[what] += number

    def counts(self) -> dict[str, int]:
        """All of them."""
        with self._lock:
            return dict(self._counts)


@dataclass
class Signals:
    """What wakes the thread, and what it tells. A forked child needs new ones."""

    news: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)
    progress: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Sends what is in the store until it is stopped."""

    def __init__(self, store: Store, send: SendOnce, tell: Tell, tally: Tally, clock: Clock):
        self._store = store
        self._send = send
        self._tell = tell
        self._tally = tally
        self._clock = clock
        self._backoff = Retries(first_s=0.5, most_s=60.0)
        self._failures = 0
        self._most = MAX_POSTS
        self._has_sent = True
        self._stopping = False
        self._is_hurried = False
        self.signals = Signals()
        self.thread = threading.Thread(target=self._run, name="heed-outbox", daemon=True)

    def stop(self, timeout_s: float) -> None:
        """End after the request that is under way; give up waiting for it in time."""
        self._stopping = True
        self.hurry()
        if self.thread.is_alive():
            self.thread.join(max(0.0, timeout_s))

    def hurry(self) -> None:
        """Try now, whatever the pause was, and what was postponed, too."""
        self._is_hurried = True
        self.signals.news.set()
        self.signals.hurry.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                event, pause = self._round()
            except (sqlite3.Error, OSError) as error:
                log.error("the outbox cannot be read or written: %s", type(error).__name__)
                event, pause = self.signals.hurry, self._pause()
            except Exception as error:  # noqa: BLE001 - a thread that dies would send nothing more
                log.error("the outbox met something unexpected: %s", type(error).__name__)
                event, pause = self.signals.hurry, self._pause()
            self.signals.progress.set()
            if pause and not self._stopping:
                self._clock.wait(event, pause)
            event.clear()

    def _round(self) -> tuple[threading.Event, float]:
        """Send one batch; what to wait for then, and how long."""
        lock = self._store.path.with_name(self._store.path.name + ".sending")
        with locked(lock, wait=False) as is_ours:
            if not is_ours:
                return self.signals.hurry, SHARED_S
            self.signals.news.clear()
            hurry, self._is_hurried = self._is_hurried, False
            heads = self._store.heads(self._clock.now(), HEADS, hurry=hurry)
            if not heads:
                return self.signals.news, self._rest()
            return self.signals.hurry, self._deliver(next_batch(heads, self._most))

    def _rest(self) -> float:
        """How long to wait when there is nothing to send now."""
        if self._store.count():
            return SOON_S
        if self._has_sent:
            self._has_sent = not self._store.erase_traces()
        return IDLE_S

    def _deliver(self, batch: list[Waiting]) -> float:
        """Send a batch; how long to wait before the next one, 0 when all went well."""
        self._tally.add("retried", len(batch) if self._failures else 0)
        try:
            verdicts = judge(batch, self._send(batch[0].path, content_of(batch)))
        except TooManyAtOnce:
            self._most = max(1, len(batch) // 2)
            return 0.0
        except HeedProblem as problem:
            log.error("the outbox waits, for the service says %s", problem.code)
            pause = self._pause(problem.retry_after_s)
            if problem.status >= 500:
                self._let_others_pass(batch, pause)
            return pause
        except (httpx.TransportError, *HOPELESS) as error:
            log.warning("the outbox waits, for the service is away: %s", type(error).__name__)
            return self._pause()
        self._settle(verdicts)
        self._failures = 0
        self._most = min(MAX_POSTS, self._most * 2)
        return 0.0

    def _let_others_pass(self, batch: list[Waiting], pause_s: float) -> None:
        """Perhaps one post is at fault and not the service: find it, and try others before it."""
        if len(batch) > 1:
            self._most = len(batch) // 2
            return
        [post] = batch
        self._put_off(post, pause_s)

    def _put_off(self, post: Waiting, at_least_s: float) -> None:
        """Others come first; the more often it has failed the longer."""
        wait_s = at_least_s + ASIDE_S + self._backoff.pause_s(post.failures)
        self._store.postpone([post.seq], self._clock.now() + wait_s)

    def _settle(self, verdicts: Verdicts) -> None:
        now = self._clock.now()
        if verdicts.stored:
            self._tally.add("sent", self._store.forget(verdicts.stored))
        for post, problem in verdicts.refused:
            if self._store.refuse(post.seq, problem, now):
                self._tally.add("refused")
                self._tell(Dropped(post.path, post.body), problem)
        for post in verdicts.later:
            self._tally.add("retried")
            self._put_off(post, 0.0)
        self._has_sent = True

    def _pause(self, asked_s: float | None = None) -> float:
        self._failures += 1
        return self._backoff.pause_s(self._failures, asked_s)
