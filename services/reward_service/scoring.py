"""From pairs of text to scores of one model version, within a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from services.reward_service.asked import Asked
from services.reward_service.batcher import Batcher
from services.reward_service.live_models import LiveModel, LiveModels, Slot
from services.reward_service.metrics import ServingMetrics
from services.reward_service.pieces import too_late
from shared.ml.said import refuse_unknown
from shared.ml.scorer import Pair, Scores
from shared.ml.steps import ProcessScorer

T = TypeVar("T")
Score = Callable[..., Awaitable[Scores]]  # `Batcher.score`, told when it is too late

CLIENT_LEFT = 499


@dataclass(frozen=True)
class Call:
    """Who asks for scores, of which model, how long they wait and what they want to know."""

    project_id: int
    model: str | None
    deadline_s: float
    asked: Asked = Asked()


@dataclass(frozen=True)
class Scored:
    """Scores and the version they all come from.

    Attributes:
        steps: by pair the score of each step of the response, 0-1; None unless steps are judged.
    """

    model: LiveModel
    scores: Scores
    steps: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class NoModel:
    """There is no model to score with; `reason` says why, for people."""

    reason: str


class Scoring:
    """Pins a model version per call and has it score."""

    def __init__(self, live: LiveModels, batcher: Batcher, metrics: ServingMetrics) -> None:
        self._live = live
        self._batcher = batcher
        self._metrics = metrics

    async def score(self, call: Call, pairs: Sequence[Pair]) -> Scored | NoModel:
        """Scores of the pairs in their order, or the reason why no model can give them.

        Raises:
            InvalidInput: the weights name an aspect that the model does not know.
            NotFound: the project has no such model, version or alias.
            ArtifactError: the named model cannot be loaded.
            Overloaded: the queue is full, or the deadline passed.
        """
        expires = time.monotonic() + call.deadline_s
        try:
            async with asyncio.timeout(call.deadline_s):
                slot = await self._live.resolve(call.project_id, call.model)
                model = slot.model
                if model is None:
                    self._metrics.fallbacks.inc()
                    return NoModel(reason_for(slot))
                refuse_unknown(call.asked.weights, model.scorer.manifest)
                score = partial(self._batcher.score, expires=expires)
                return await self._score_once(score, model, pairs, details=call.asked.details)
        except TimeoutError:
            raise too_late() from None

    async def _score_once(
        self, score: Score, model: LiveModel, pairs: Sequence[Pair], *, details: bool
    ) -> Scored:
        """Equal pairs are scored once, so that the last bits of two batches cannot part them."""
        places: dict[Pair, int] = {}
        order = [places.setdefault(pair, len(places)) for pair in pairs]
        steps = None
        if isinstance(model.scorer, ProcessScorer):
            scores, each = await _score_steps(score, model.scorer, list(places))
            steps = [each[place] for place in order]
        else:
            scores = await score(model.scorer, list(places), details=details)
        self._metrics.tokens.inc(int(scores.tokens.sum()))
        return Scored(model, scores.take(order), steps)


async def _score_steps(
    score: Score, scorer: ProcessScorer, pairs: Sequence[Pair]
) -> tuple[Scores, list[list[float]]]:
    """Scores of responses and of their steps, which wait in the queue for what they cost."""
    asked, counts = await asyncio.to_thread(scorer.asked, pairs)
    found = await score(scorer.of_steps, asked)
    each = np.split(found.probability, np.cumsum(counts)[:-1])
    return scorer.summed_up(found, counts), [scores.tolist() for scores in each]


def reason_for(slot: Slot) -> str:
    """Why a slot has no model."""
    if slot.error is not None:
        return "The model that was promoted cannot be loaded; the log and /models/live say why."
    return f"No {slot.reference.name} model has been promoted yet; train and promote one."


async def unless_gone(request: Request, work: Awaitable[T]) -> T | Response:
    """What the work gives; when the client leaves first, the work is cancelled for nobody's sake.

    The request's body must have been read: what `receive` gives next is then the disconnect.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else Response(status_code=CLIENT_LEFT)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
