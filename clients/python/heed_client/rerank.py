"""Orders candidate responses by the live reward model; without one they keep their order.

An application that shows responses must go on without the reward service, so nothing here raises
for a service that is away, refuses or has no model: the result says so in `fallback` and `reason`.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from heed_client.calls import Call
from heed_client.errors import HeedError, HeedMisuse, HeedProblem, Problem
from heed_client.options import Options
from heed_client.results import Result
from heed_client.retrying import Retries
from heed_client.senders import AsyncSender, Sender
from heed_client.settings import REWARD_URL, find_service

NO_MODEL_SCORE = 0.5
TEXT_NAMES = ("text", "response", "content", "agent_response", "ai_response")
log = logging.getLogger("heed_client.rerank")

Candidate = str | Mapping[str, Any] | Sequence[Any]


class Reranked(list[dict[str, Any]]):
    """Candidates, best first: each a dict with `text`, `score` (0–1) and the fields it came with.

    Attributes:
        fallback: True when no model has ordered them: the order is that of the call.
        reason: why there was no model.
        decision_id: send it with feedback on what was shown.
        model: name and version of the model, such as `reward@3`.
    """

    fallback: bool = False
    reason: str | None = None
    decision_id: str | None = None
    model: str | None = None


class _Place(Result):
    index: int
    relevance_score: float


class _Order(Result):
    results: list[_Place]
    decision_id: str | None = None
    model: dict[str, Any] | None = None
    fallback: bool = False
    reason: str | None = None


class Reranker:
    """Asks one reward service, over connections that are kept.

    Args:
        url: the reward service; else `HEED_REWARD_URL`, else http://127.0.0.1:8001.
        api_key: a key with the scope `score`; else `HEED_API_KEY`.
        timeout_s: the most a call takes before it falls back.
        model: which model; the live one when empty.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 2.0,
        model: str | None = None,
    ) -> None:
        self._model = model
        self._sender = Sender(_options(url, api_key, timeout_s))

    def __repr__(self) -> str:
        return f"Reranker({self._sender.options.service.url!r})"

    def rerank(
        self, query: str, candidates: Sequence[Candidate], top_k: int | None = None
    ) -> Reranked:
        """The candidates, best first; at most `top_k`."""
        shaped = [_shaped(candidate) for candidate in candidates]
        if not shaped:
            return Reranked()
        try:
            order = _fitting(self._sender.send(_call(query, shaped, self._model)), shaped)
        except HeedError as error:
            order = _fallback(shaped, error)
        return _ordered(shaped, order, top_k)

    def is_model_ready(self) -> bool:
        """Whether a model would order candidates now."""
        try:
            self._sender.send(_READY)
        except HeedError:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()


class AsyncReranker:
    """The same as `Reranker`, to be awaited, in one event loop."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 2.0,
        model: str | None = None,
    ) -> None:
        self._model = model
        self._sender = AsyncSender(_options(url, api_key, timeout_s))

    def __repr__(self) -> str:
        return f"AsyncReranker({self._sender.options.service.url!r})"

    async def rerank(
        self, query: str, candidates: Sequence[Candidate], top_k: int | None = None
    ) -> Reranked:
        """The candidates, best first; at most `top_k`."""
        shaped = [_shaped(candidate) for candidate in candidates]
        if not shaped:
            return Reranked()
        try:
            order = _fitting(await self._sender.send(_call(query, shaped, self._model)), shaped)
        except HeedError as error:
            order = _fallback(shaped, error)
        return _ordered(shaped, order, top_k)

    async def is_model_ready(self) -> bool:
        """Whether a model would order candidates now."""
        try:
            await self._sender.send(_READY)
        except HeedError:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()


def rerank_candidates(
    query: str, candidates: Sequence[Candidate], top_k: int | None = None
) -> Reranked:
    """The candidates, best first, by the service that the environment names."""
    return _from_environment().rerank(query, candidates, top_k)


def is_model_ready() -> bool:
    """Whether a model would order candidates now, at the service that the environment names."""
    return _from_environment().is_model_ready()


async def rerank_candidates_async(
    query: str, candidates: Sequence[Candidate], top_k: int | None = None
) -> Reranked:
    """The same without blocking the event loop."""
    return await asyncio.to_thread(rerank_candidates, query, candidates, top_k)


async def is_model_ready_async() -> bool:
    """The same without blocking the event loop."""
    return await asyncio.to_thread(is_model_ready)


@cache
def _from_environment() -> Reranker:
    return Reranker()


_READY: Call[Result] = Call("GET", "/readyz", Result, params={"require": "model"}, is_retried=False)


def _options(url: str | None, api_key: str | None, timeout_s: float) -> Options:
    service = find_service(url, api_key, REWARD_URL)
    retries = Retries(deadline_s=timeout_s, first_s=0.05, most_s=0.5)
    return Options(service, timeout_s=timeout_s, retries=retries)


def _shaped(candidate: Candidate) -> dict[str, Any]:
    """A candidate as a dict with `text`: it was a text, a mapping, or a text and a score."""
    if isinstance(candidate, str):
        return {"text": candidate}
    if isinstance(candidate, Mapping):
        name = next((n for n in TEXT_NAMES if isinstance(candidate.get(n), str)), None)
        if name is not None:
            return {**candidate, "text": candidate[name]}
    elif isinstance(candidate, Sequence) and candidate and isinstance(candidate[0], str):
        return {"text": candidate[0]}
    raise HeedMisuse(f"A candidate is a text, or a mapping with one of {', '.join(TEXT_NAMES)}.")


def _call(query: str, shaped: Sequence[Mapping[str, Any]], model: str | None) -> Call[_Order]:
    documents = [candidate["text"] for candidate in shaped]
    body: dict[str, Any] = {"query": query, "documents": documents}
    if model is not None:
        body["model"] = model
    return Call("POST", "/rerank", _Order, body=body)


def _fitting(order: _Order, shaped: Sequence[object]) -> _Order:
    """The order, if it names each candidate once.

    Raises:
        HeedProblem: it does not; another service is behind the URL.
    """
    if sorted(place.index for place in order.results) != list(range(len(shaped))):
        detail = "The reply does not name each candidate once; is the URL right?"
        raise HeedProblem(Problem(status=200, code="unexpected_reply", detail=detail))
    return order


def _fallback(shaped: Sequence[object], error: HeedError) -> _Order:
    reason = error.code if isinstance(error, HeedProblem) else type(error).__name__
    log.warning("candidates keep their order: %s", reason)
    places = [_Place(index=index, relevance_score=NO_MODEL_SCORE) for index in range(len(shaped))]
    return _Order(results=places, fallback=True, reason=str(error))


def _ordered(shaped: list[dict[str, Any]], order: _Order, top_k: int | None) -> Reranked:
    ranked = Reranked(
        {**shaped[place.index], "score": place.relevance_score} for place in order.results
    )
    del ranked[len(ranked) if top_k is None else max(0, top_k) :]
    ranked.fallback, ranked.reason = order.fallback, order.reason
    ranked.decision_id = order.decision_id
    if order.model is not None:
        ranked.model = f"{order.model.get('name')}@{order.model.get('version')}"
    return ranked
