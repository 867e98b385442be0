"""What waits for a scoring thread: admitted up to a bound, taken in the order in which it is due.

Shorter requests go first, but waiting counts: a request is due when it would be done if it had come
to an idle thread, so it lets newer ones pass only for as long as it would take by itself.
"""

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from services.reward_service.costs import Speeds, estimated_tokens
from services.reward_service.lending import Lending
from services.reward_service.pieces import Job, Piece, cut, too_late
from shared.errors import Overloaded, Unavailable
from shared.ml.scorer import Pair

# Of the time a request allows, the share it may wait; beyond, it is refused at once rather than
# late. The other half is for scoring it, and for errors of the estimate.
_PATIENCE = 0.5

# The queue is for bursts of a few seconds. Under more than can be done it would stay full, and all
# that is accepted would be late. Once it overflows, and while what was turned away in the last
# second has no room in it, no request is taken to allow more than a second.
_BURST_S = 3.0
_CROWD_S = 1.0
_FEW = 8  # requests that wait are no crowd, on however slow a machine: clients await their replies


@dataclass(frozen=True)
class Limits:
    """How many threads score, how much they take at once, and how much may wait for them."""

    workers: int = 2
    batch_tokens: int = 1024
    queue_tokens: int = 32_768


class Waiting:
    """Pieces that no thread has taken yet; everything here holds `changed`.

    The first thread is woken before the others, and it alone is lent the cores of idle ones: what
    helps a thread on other cores has to stay awake between its calls, and does so for one only.

    Attributes:
        tokens: estimated, of all that waits.
        seconds: what one thread would need for them, estimated from the speed of late.
        idle: threads that wait for work.
    """

    def __init__(self, limits: Limits) -> None:
        lock = threading.RLock()
        self.changed = threading.Condition(lock)
        self._first_changed = threading.Condition(lock)
        self._first_waits = False
        self.speeds = Speeds()
        self.lending = Lending()
        self.tokens = 0
        self.seconds = 0.0
        self.idle = 0
        self.is_closing = False
        self._limits = limits
        self._heap: list[Piece] = []
        self._free_at: dict[int, float] = {}
        self._turned_away: deque[tuple[float, int]] = deque()
        self._away_tokens = 0

    @property
    def wanted_tokens(self) -> int:
        """What waits, with what was turned away in the last second because of it."""
        with self.changed:
            return self.tokens + self._turned_away_tokens(time.monotonic())

    def add(self, job: Job, pairs: Sequence[Pair]) -> None:
        """Let a job wait.

        Raises:
            Overloaded: too much waits already, in tokens or for the time that the job allows.
            Unavailable: the service shuts down.
        """
        costs = estimated_tokens(pairs, job.scorer.manifest)
        with self.changed:
            speed = self.speeds.of(job.scorer)
            now = time.monotonic()
            due = now + sum(costs) / speed
            self._admit(job, sum(costs), speed=speed, now=now, due=due)
            at_once, batch_tokens = 1 if self.tokens else self.idle, self._limits.batch_tokens
            pieces = cut(job, pairs, costs, batch_tokens=batch_tokens, at_once=at_once)
            for piece in pieces:
                piece.due, piece.since, piece.seconds = due, now, piece.tokens / speed
                self._enter_queue(piece)
            self._wake(len(pieces))

    def take(self, held: list[Piece], *, is_first: bool) -> int:
        """Fill `held` with the next pieces of one model.

        Gives how many cores they may be scored on: 1, or all for the first thread where nobody else
        needs one and that helps; 0 when the service shuts down.
        """
        thread = threading.get_ident()
        with self.changed:
            self._free_at.pop(thread, None)
            while not self.is_closing:
                self._take_some(held)
                if held:
                    now, busy_s = time.monotonic(), sum(piece.seconds for piece in held)
                    self._free_at[thread] = now + busy_s
                    is_alone = self.idle == self._limits.workers - 1 and not self.tokens
                    is_lent = is_first and is_alone and self.lending.is_open(now)
                    return self._limits.workers if is_lent else 1
                self._wait(is_first=is_first)
            return 0

    def drop(self, job: Job) -> int:
        """Take back what no thread holds yet; gives the number of pieces."""
        with self.changed:
            dropped = [piece for piece in job.pieces if piece.is_waiting]
            if dropped:
                self._take_back(dropped)
                self._tidy()
            return len(dropped)

    def close(self) -> list[Piece]:
        """Let nothing wait any more; gives what did."""
        with self.changed:
            self.is_closing = True
            waiting, self._heap = self._heap, []
            for piece in waiting:
                self._leave_queue(piece)
            self._first_changed.notify_all()
            self.changed.notify_all()
            return waiting

    def _wait(self, *, is_first: bool) -> None:
        self.idle += 1
        try:
            if is_first:
                self._first_waits = True
                self._first_changed.wait()
            else:
                self.changed.wait()
        finally:
            self.idle -= 1

    def _wake(self, threads: int) -> None:
        if self._first_waits:
            self._first_waits = False
            self._first_changed.notify()
            threads -= 1
        self.changed.notify(threads)

    def _admit(self, job: Job, tokens: int, *, speed: float, now: float, due: float) -> None:
        if self.is_closing:
            raise shutting_down()
        if self.idle and not self.tokens:
            return
        wait_s, allowed_s = self._wait_s(now, due), job.expires - now
        if wait_s > _PATIENCE * allowed_s:
            raise self._overloaded("too many for the time that this request allows")
        most = self._limits.queue_tokens
        first = min(tokens, self._limits.batch_tokens)  # its size is no reason to refuse it
        burst = min(most, int(_BURST_S * speed * self._limits.workers))
        is_long = self.tokens + first > (burst if self._waits_for_many() else most)
        overflows = self.tokens > 0 and is_long
        has_room = self.tokens == 0 or self.tokens + tokens <= most
        away = self._turned_away_tokens(now)
        is_crowd = away > 0 and away + self.tokens + first > burst
        if overflows or not has_room or (is_crowd and wait_s > _PATIENCE * _CROWD_S):
            self._turn_away(tokens, now)
            if overflows:  # by many, not by one
                self._shed(now)
            raise self._overloaded(f"of at most {burst}")

    def _waits_for_many(self) -> bool:
        return len(self._heap) >= _FEW and len({piece.job for piece in self._heap}) >= _FEW

    def _turn_away(self, tokens: int, now: float) -> None:
        if tokens <= self._limits.queue_tokens:  # more has no room in any queue, crowd or not
            self._turned_away.append((now, tokens))
            self._away_tokens += tokens

    def _turned_away_tokens(self, now: float) -> int:
        """Of requests that were refused in the last second and may come again."""
        while self._turned_away and self._turned_away[0][0] < now - _CROWD_S:
            self._away_tokens -= self._turned_away.popleft()[1]
        return self._away_tokens

    def _shed(self, now: float) -> None:
        """Turn away, while it is early for them, whole jobs that would begin late in a crowd."""
        ahead_s, seen = self._held_s(now), set()
        for piece in sorted(self._heap):
            job = piece.job
            is_late = ahead_s > _PATIENCE * _CROWD_S * self._limits.workers
            if is_late and job not in seen and all(part.is_waiting for part in job.pieces):
                self._turn_away(sum(part.tokens for part in job.pieces), now)
                self._take_back(job.pieces)
                job.fail(self._overloaded("and more comes than can be scored"))
            seen.add(job)
            ahead_s += piece.seconds
        self._tidy()

    def _overloaded(self, why: str) -> Overloaded:
        wait_s = max(1, math.ceil(self.seconds / self._limits.workers))
        return Overloaded(
            f"{self.tokens} tokens wait already, {why}; try again in {wait_s} s, or send fewer "
            "texts at once.",
            retry_after_s=wait_s,
        )

    def _wait_s(self, now: float, due: float) -> float:
        """How long work that is due then would wait for what is held and what is due before."""
        before_s = sum(piece.seconds for piece in self._heap if piece.due <= due)
        return (self._held_s(now) + before_s) / self._limits.workers

    def _held_s(self, now: float) -> float:
        """What is left of the work that threads hold, in seconds of one thread."""
        return sum(max(0.0, free_at - now) for free_at in self._free_at.values())

    def _take_some(self, held: list[Piece]) -> None:
        """Move what is due first; an even share where other threads are idle."""
        room = min(self._limits.batch_tokens, math.ceil(self.tokens / (1 + self.idle)))
        while self._heap:
            piece = self._heap[0]
            if piece.job.is_over:
                self._leave_queue(heapq.heappop(self._heap))
                piece.job.fail(too_late())
            elif not held or (piece.tokens <= room and piece.job.scorer is held[0].job.scorer):
                held.append(heapq.heappop(self._heap))
                self._leave_queue(piece)
                room -= piece.tokens
            else:
                return

    def _enter_queue(self, piece: Piece) -> None:
        heapq.heappush(self._heap, piece)
        self.tokens += piece.tokens
        self.seconds += piece.seconds

    def _take_back(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._leave_queue(piece)

    def _tidy(self) -> None:
        """Forget what left: it would keep texts, and a replaced model, in memory."""
        self._heap = [piece for piece in self._heap if piece.is_waiting]
        heapq.heapify(self._heap)

    def _leave_queue(self, piece: Piece) -> None:
        piece.is_waiting = False
        self.tokens -= piece.tokens
        self.seconds -= piece.seconds


def shutting_down() -> Unavailable:
    """What a caller is told while the process ends."""
    return Unavailable("The reward service shuts down; send the request again.", retry_after_s=1)
