"""The threads that score what waits: at once when idle, together when busy, nobody left hanging.

Requests add pieces of work; worker threads take what lies there, as much as makes a good batch, and
never wait for more. A thread that is alone with work scores it on the cores of the idle ones too.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from services.reward_service.metrics import ServingMetrics
from services.reward_service.pieces import Job, Piece, too_late
from services.reward_service.waiting import Limits, Waiting, shutting_down
from shared.errors import Overloaded, Unavailable
from shared.logs import get_logger
from shared.ml.cores import on_cores
from shared.ml.scorer import Pair, Scorer, Scores

_log = get_logger("reward_service")


class Batcher:
    """Scores pairs on worker threads; every caller gets the scores or the error."""

    def __init__(
        self, limits: Limits, metrics: ServingMetrics, *, remembered: Callable[[], int] = lambda: 0
    ) -> None:
        """Start the threads; `remembered` gives the tokens that the calling one did not read."""
        self._metrics = metrics
        self._remembered = remembered
        self._waiting = Waiting(limits)
        self._threads: set[threading.Thread] = set()
        metrics.waiting_tokens.set_function(lambda: self._waiting.wanted_tokens)
        for number in range(limits.workers):
            self._start_worker(is_first=number == 0)

    async def score(
        self,
        scorer: Scorer,
        pairs: Sequence[Pair],
        *,
        details: bool = False,
        expires: float = math.inf,
    ) -> Scores:
        """Scores in the order of the pairs; a cancelled caller's work is dropped.

        What no thread has begun by `expires`, on the monotonic clock, is never scored.

        Raises:
            Overloaded: too many tokens wait already, or it is too late.
            Unavailable: the service shuts down, or the worker died over this work.
        """
        job = Job(scorer, asyncio.get_running_loop(), details=details, expires=expires)
        try:
            self._waiting.add(job, pairs)
            return await job.result
        except Overloaded as error:
            if error.code == Overloaded.code:
                self._metrics.refused.inc()
            raise
        finally:
            self._metrics.dropped.inc(self._waiting.drop(job))

    @property
    def waiting_tokens(self) -> int:
        """Estimated tokens that no worker has taken yet."""
        return self._waiting.tokens

    @property
    def idle_workers(self) -> int:
        """Threads that wait for work."""
        return self._waiting.idle

    def close(self) -> None:
        """Refuse what still waits, let the workers finish what they hold, and end them."""
        for piece in self._waiting.close():
            piece.job.fail(shutting_down())
        for thread in list(self._threads):
            thread.join()

    def _start_worker(self, *, is_first: bool) -> None:
        work = partial(self._work, is_first=is_first)
        thread = threading.Thread(target=work, name="scoring", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self, *, is_first: bool) -> None:
        held: list[Piece] = []
        try:
            while cores := self._waiting.take(held, is_first=is_first):
                self._score_timed(held, cores)
                held.clear()
        finally:
            self._leave(held, is_first=is_first)

    def _leave(self, held: Sequence[Piece], *, is_first: bool) -> None:
        """Whatever ended this thread: put another in its place and answer those it worked for."""
        self._threads.discard(threading.current_thread())
        if not self._waiting.is_closing:
            _log.error("scoring_worker_replaced", pieces=len(held))
            self._metrics.workers_replaced.inc()
            self._start_worker(is_first=is_first)
        for piece in held:
            piece.job.fail(Unavailable("The worker died over this request; send it again."))

    def _score_timed(self, held: Sequence[Piece], cores: int) -> None:
        started, remembered = time.monotonic(), self._remembered()
        with on_cores(cores):
            has_scored = _score(held)
        elapsed_s = time.monotonic() - started
        tokens = sum(piece.tokens for piece in held)
        metrics = self._metrics.batches
        for piece in held:
            metrics.wait_seconds.observe(started - piece.since)
        metrics.tokens.observe(tokens)
        metrics.pairs.observe(sum(len(piece.pairs) for piece in held))
        metrics.seconds.observe(elapsed_s)
        # What was refused at a glance or mostly remembered tells nothing of speed.
        read = tokens - (self._remembered() - remembered)
        if has_scored and read > tokens / 2:
            self._learn(held[0].job.scorer, read, elapsed_s, cores=cores)

    def _learn(self, scorer: Scorer, tokens: int, seconds: float, *, cores: int) -> None:
        waiting = self._waiting
        with waiting.changed:
            if cores == 1:
                waiting.speeds.observe(scorer, tokens, seconds)
            else:
                alone_s = tokens / waiting.speeds.of(scorer)
                waiting.lending.observe(seconds, alone_s=alone_s, now=time.monotonic())


def _score(held: Sequence[Piece]) -> bool:
    """Score pieces in one batch; after an error each by itself, so that one spoils no other.

    Gives whether they were scored in one batch.
    """
    pairs = [pair for piece in held for pair in piece.pairs]
    details = any(piece.job.details for piece in held)
    try:
        scores = held[0].job.scorer.score(pairs, details=details)
    except Exception as error:  # noqa: BLE001 - whoever waits is always answered
        if len(held) == 1:
            held[0].job.fail(error)
        else:
            for piece in held:
                _score_alone(piece)
        return False
    at = 0
    for piece in held:
        piece.finish(scores, at)
        at += len(piece.pairs)
    return True


def _score_alone(piece: Piece) -> None:
    if piece.job.is_over:
        piece.job.fail(too_late())
    else:
        _score([piece])
