"""The outbox as an application sees it."""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heed_client.calls import Post, stamped
from heed_client.encoding import to_json
from heed_client.errors import HeedMisuse, Problem
from heed_client.outbox.lifetime import forget_open, remember_open
from heed_client.outbox.records import CLOSED, FULL, Dropped, OnDrop, Refused, unusable
from heed_client.outbox.store import Store
from heed_client.outbox.worker import SendOnce, Tally, Worker
from heed_client.timing import Clock

CAPACITY = 10_000
MAX_BYTES = 256 * 1024 * 1024
log = logging.getLogger("heed_client.outbox")


@dataclass(frozen=True)
class Counters:
    """`pending` posts are on disk, whoever put them there; the rest is this process's doing."""

    pending: int
    sent: int
    refused: int
    dropped: int
    retried: int


class Outbox:
    """Posts on disk, and the thread that sends them.

    The file holds what people wrote: only its owner can read it, and what was sent is overwritten.
    One outbox belongs to one project of one deployment; several processes may share it. It must be
    on a local disk.

    Args:
        path: the file; its folder is made if need be.
        capacity: how many posts it holds at most. A post too many is refused, loudly.
        max_bytes: how large the file grows at most.
        on_drop: told of every post that will not be sent and why, in whichever thread found out.
        clock: the time; only tests need another one.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        capacity: int = CAPACITY,
        max_bytes: int = MAX_BYTES,
        on_drop: OnDrop | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._clock = clock or Clock()
        self._store = Store(self.path, capacity=capacity, max_bytes=max_bytes)
        self._on_drop = on_drop
        self._tally = Tally()
        self._send: SendOnce | None = None
        self._worker: Worker | None = None
        self._starting = threading.Lock()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"Outbox({str(self.path)!r})"

    def start(self, send: SendOnce) -> None:
        """Begin sending, also what an earlier process has left; a client calls this.

        Raises:
            HeedMisuse: another client has this outbox already, or the file is no outbox.
        """
        if self._send is not None:
            raise HeedMisuse("This outbox belongs to another client; make one for each.")
        try:
            self._store.count()
        except (sqlite3.Error, OSError) as error:
            log.error("%s", unusable(error).detail)
        self._send = send
        remember_open(self)
        self._wake()

    def put(self, posts: Sequence[Post]) -> list[bool]:
        """Which posts were kept; these are on disk when this returns. Never raises for the disk."""
        posts = [stamped(post, self._clock.now()) for post in posts]
        try:
            kept = [False] * len(posts) if self._is_closed else self._store.put(posts)
            why = CLOSED if self._is_closed else FULL
        except (sqlite3.Error, OSError) as error:
            kept, why = [False] * len(posts), _full_or_unusable(error)
        for post, is_kept in zip(posts, kept, strict=True):
            if not is_kept:
                self._tally.add("dropped")
                self._tell(Dropped(post.path, to_json(post.body)), why)
        if any(kept):
            self._wake()
        return kept

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Whether all that was there is sent or refused; False when the time was not enough."""
        end = self._clock.monotonic() + timeout_s
        try:
            last = self._store.last_seq()
            worker = self._running()
            worker.hurry()
            while self._store.is_waiting(last):
                remaining = end - self._clock.monotonic()
                if remaining <= 0 or self._is_closed:
                    return False
                worker.signals.progress.clear()
                self._clock.wait(worker.signals.progress, min(remaining, 0.1))
        except (sqlite3.Error, OSError, RuntimeError) as error:
            log.error("the outbox cannot be flushed: %s", type(error).__name__)
            return False
        return True

    def close(self, timeout_s: float = 5.0) -> bool:
        """Flush, then stop; what could not be sent stays on disk. Whether all was sent."""
        if self._is_closed or self._send is None:
            return self._is_closed
        end = self._clock.monotonic() + timeout_s
        is_empty = self.flush(timeout_s)
        self._is_closed = True
        forget_open(self)
        if self._worker is not None:
            self._worker.stop(end - self._clock.monotonic() + 0.1)
        self._store.close()
        return is_empty

    def counters(self) -> Counters:
        """How many posts wait, and what this process has done since it started.

        Raises:
            sqlite3.Error, OSError: the outbox's file cannot be read.
        """
        return Counters(pending=self._store.count(), **self._tally.counts())

    def refused(self) -> list[Refused]:
        """The posts that the service refused for good; they stay here until discarded."""
        return self._store.refused()

    def discard_refused(self) -> int:
        """Erase the refused posts; how many there were."""
        return self._store.discard_refused()

    def retry_refused(self) -> int:
        """Send the refused posts once more; how many there were."""
        found = self._store.retry_refused()
        self._running().hurry()
        return found

    def _wake(self) -> None:
        try:
            self._running().signals.news.set()
        except RuntimeError as error:  # no thread can be started; the posts are safe on disk
            log.error("the outbox cannot send: %s", type(error).__name__)

    def _running(self) -> Worker:
        """The worker; a new one after a fork, where threads do not come along."""
        with self._starting:
            if self._send is None:
                raise HeedMisuse("Give this outbox to a client: Heed(outbox=...).")
            if self._worker is None:
                self._worker = Worker(self._store, self._send, self._tell, self._tally, self._clock)
                self._worker.thread.start()
            return self._worker

    def _tell(self, dropped: Dropped, problem: Problem) -> None:
        log.error("a post for %s is dropped: %s", dropped.path, problem.code)
        if self._on_drop is None:
            return
        try:
            self._on_drop(dropped, problem)
        except Exception as error:  # noqa: BLE001 - the application's own; sending must go on
            log.error("on_drop failed: %s", type(error).__name__)

    def before_fork(self) -> None:
        """No statement runs and no connection is open from here until `after_fork`."""
        self._starting.acquire()
        self._store.before_fork()

    def after_fork(self, *, is_child: bool) -> None:
        """Go on; the child with a thread, counters and connections of its own."""
        if is_child:
            self._worker, self._tally = None, Tally()
        self._store.after_fork()
        self._starting.release()


def _full_or_unusable(error: Exception) -> Problem:
    code = getattr(error, "sqlite_errorcode", None)
    return FULL if code == sqlite3.SQLITE_FULL else unusable(error)
