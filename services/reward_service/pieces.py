"""One request's work on its way through the scoring threads: cut up, scored apart, put together."""

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise

from shared.errors import Overloaded
from shared.ml.scorer import Pair, Scorer, Scores, joined

# Work below this is not worth a second thread.
_LEAST_TOKENS_APART = 128
_order = count()


class Job:
    """The pairs of one request: its future gets all scores, or the first error."""

    def __init__(
        self,
        scorer: Scorer,
        loop: asyncio.AbstractEventLoop,
        *,
        details: bool = False,
        expires: float = math.inf,
    ) -> None:
        """Score with one model, until `expires` on the monotonic clock."""
        self.scorer = scorer
        self.details = details
        self.expires = expires
        self.result: asyncio.Future[Scores] = loop.create_future()
        self.pieces: list[Piece] = []
        self._loop = loop
        self._scores: dict[int, Scores] = {}

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more: answered, given up, or too late."""
        return self.result.done() or time.monotonic() >= self.expires

    def finish(self, number: int, scores: Scores) -> None:
        """Take the scores of one piece, from any thread."""
        self._loop.call_soon_threadsafe(self._put, number, scores)

    def fail(self, error: Exception) -> None:
        """Give the error to whoever waits, from any thread."""
        self._loop.call_soon_threadsafe(self._put_error, error)

    def _put(self, number: int, scores: Scores) -> None:
        self._scores[number] = scores
        if len(self._scores) == len(self.pieces) and not self.result.done():
            self.result.set_result(joined([self._scores[piece.number] for piece in self.pieces]))

    def _put_error(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


@dataclass(order=True)
class Piece:
    """Consecutive pairs of one job that one thread scores at once; sorts by when it is due."""

    due: float = field(default=0.0, init=False)
    number: int = field(default_factory=lambda: next(_order), init=False)
    job: Job = field(compare=False)
    pairs: Sequence[Pair] = field(compare=False)
    tokens: int = field(compare=False)
    seconds: float = field(default=0.0, compare=False, init=False)
    since: float = field(default=0.0, compare=False, init=False)
    is_waiting: bool = field(default=True, compare=False, init=False)

    def finish(self, batch: Scores, at: int) -> None:
        """Hand over this piece's share of a batch, which begins at index `at`."""
        share = slice(at, at + len(self.pairs))
        self.job.finish(self.number, batch.take(share))


def cut(
    job: Job, pairs: Sequence[Pair], costs: Sequence[int], *, batch_tokens: int, at_once: int
) -> list[Piece]:
    """A job's pairs as even pieces of about `batch_tokens`, one for each idle thread at least."""
    total = sum(costs)
    wanted = max(min(at_once, total // _LEAST_TOKENS_APART), math.ceil(total / batch_tokens), 1)
    middles = [end - cost / 2 for cost, end in zip(costs, accumulate(costs), strict=True)]
    shares = [int(middle * wanted / total) for middle in middles]
    bounds = [bisect_left(shares, number) for number in range(wanted + 1)]
    job.pieces = [
        Piece(job, pairs[begin:end], sum(costs[begin:end]))
        for begin, end in pairwise(bounds)
        if begin < end or not pairs
    ]
    return job.pieces


def too_late() -> Overloaded:
    """What a caller is told whose time is over."""
    return Overloaded(
        "The scores were not ready in the time that the request allows; send fewer texts, allow "
        "more time in X-Deadline-Ms, or try again later.",
        code="deadline_exceeded",
        retry_after_s=1,
    )
