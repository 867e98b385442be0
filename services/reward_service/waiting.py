"""What waits for a scoring thread: admitted up to a bound, taken in the order in which it is due.

Shorter requests go first, but waiting counts: a request is due when it would be done if it had come
to an idle thread, so it lets newer ones pass only for as long as it would take by itself.
"""

import heapq
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.reward_service.costs import Speeds, estimated_tokens
from services.reward_service.pieces import Job, Piece, cut, too_late
from shared.errors import Overloaded, Unavailable
from shared.ml.scorer import Pair

# Of the time a request allows, the share it may wait; beyond, it is refused at once rather than
# late. The other half is for scoring it, and for errors of the estimate.
_PATIENCE = 0.5


@dataclass(frozen=True)
class Limits:
    """How many threads score, how much they take at once, and how much may wait for them."""

    workers: int = 2
    batch_tokens: int = 1024
    queue_tokens: int = 32_768


class Waiting:
    """Pieces that no thread has taken yet; everything here holds `changed`.

    Attributes:
        tokens: estimated, of all that waits.
        seconds: what one thread would need for them, estimated from the speed of late.
        idle: threads that wait for work.
    """

    def __init__(self, limits: Limits) -> None:
        self.changed = threading.Condition()
        self.speeds = Speeds()
        self.tokens = 0
        self.seconds = 0.0
        self.idle = 0
        self.is_closing = False
        self._limits = limits
        self._heap: list[Piece] = []

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
            self._admit(job, sum(costs), now=now, due=due)
            at_once, batch_tokens = 1 if self.tokens else self.idle, self._limits.batch_tokens
            pieces = cut(job, pairs, costs, batch_tokens=batch_tokens, at_once=at_once)
            for piece in pieces:
                piece.due, piece.since, piece.seconds = due, now, piece.tokens / speed
                self._enter_queue(piece)
            self.changed.notify(len(pieces))

    def take(self, held: list[Piece]) -> bool:
        """Fill `held` with the next pieces of one model; False when the service shuts down."""
        with self.changed:
            while not self.is_closing:
                self._take_some(held)
                if held:
                    return True
                self.idle += 1
                try:
                    self.changed.wait()
                finally:
                    self.idle -= 1
            return False

    def drop(self, job: Job) -> int:
        """Take back what no thread holds yet; gives the number of pieces."""
        with self.changed:
            dropped = [piece for piece in job.pieces if piece.is_waiting]
            for piece in dropped:
                self._leave_queue(piece)
            if dropped:
                # What is left in the heap would keep texts, and a replaced model, in memory.
                self._heap = [piece for piece in self._heap if piece.is_waiting]
                heapq.heapify(self._heap)
            return len(dropped)

    def close(self) -> list[Piece]:
        """Let nothing wait any more; gives what did."""
        with self.changed:
            self.is_closing = True
            waiting, self._heap = self._heap, []
            for piece in waiting:
                self._leave_queue(piece)
            self.changed.notify_all()
            return waiting

    def _admit(self, job: Job, tokens: int, *, now: float, due: float) -> None:
        if self.is_closing:
            raise shutting_down()
        if not self.tokens:
            return
        if self.tokens + tokens > self._limits.queue_tokens:
            raise self._overloaded(f"of at most {self._limits.queue_tokens}")
        allowed_s = _PATIENCE * (job.expires - now) * self._limits.workers
        if self.seconds > allowed_s and self._seconds_before(due) > allowed_s:
            raise self._overloaded("too many for the time that this request allows")

    def _overloaded(self, why: str) -> Overloaded:
        wait_s = max(1, math.ceil(self.seconds / self._limits.workers))
        return Overloaded(
            f"{self.tokens} tokens wait already, {why}; try again in {wait_s} s, or send fewer "
            "texts at once.",
            retry_after_s=wait_s,
        )

    def _seconds_before(self, due: float) -> float:
        return sum(piece.seconds for piece in self._heap if piece.due <= due)

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

    def _leave_queue(self, piece: Piece) -> None:
        piece.is_waiting = False
        self.tokens -= piece.tokens
        self.seconds -= piece.seconds


def shutting_down() -> Unavailable:
    """What a caller is told while the process ends."""
    return Unavailable("The reward service shuts down; send the request again.", retry_after_s=1)
