"""What every dialect does in between: score pairs for a caller, say which model it was."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import AliasChoices, BeforeValidator, Field
from starlette.responses import JSONResponse, Response

from services.reward_service.asked import Asked
from services.reward_service.deps import Caller, CallerDep, Service, ServiceDep
from services.reward_service.dialects.forms import ClientLeft
from services.reward_service.dialects.full_text import split
from services.reward_service.dialects.telling import is_foreign
from services.reward_service.limits import refuse_too_long, refuse_too_many
from services.reward_service.live_models import LiveModel
from services.reward_service.replies import MODEL_HEADER, by_number
from services.reward_service.scoring import NoModel, Scored, unless_gone
from shared.contracts.scoring import Text
from shared.errors import Unavailable
from shared.ml.scorer import Pair

ModelName = Annotated[str | None, Field(max_length=1000)]
Texts = Annotated[
    list[Text],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1),
]
# What vLLM calls `use_activation`, and called `activation`; false asks for the raw reward.
Activation = Annotated[
    bool | None, Field(validation_alias=AliasChoices("use_activation", "activation"))
]

# Texts of more characters together are taken apart in a thread: the worst of them hold the event
# loop for longer than others should wait.
_QUICK_CHARACTERS = 10_000


@dataclass(frozen=True)
class Asker:
    """One request of one caller, and what it takes to reply to it."""

    request: Request
    service: Service
    caller: Caller

    async def score(self, pairs: Sequence[Pair], where: str, model: str | None = None) -> Scored:
        """Scores of the pairs, which are checked against the limits; `where` is their pointer.

        Raises:
            Unavailable: there is no model (`no_model`); `Scoring.score` may raise more.
        """
        return known(await self.score_if_any(pairs, where, model))

    async def score_if_any(
        self, pairs: Sequence[Pair], where: str, model: str | None = None
    ) -> Scored | NoModel:
        """The same, where a missing model is not an error."""
        refuse_too_many(len(pairs), where, self.service.settings)
        self.refuse_long(where, ((at, pair.prompt) for at, pair in enumerate(pairs)))
        self.refuse_long(where, ((at, pair.response) for at, pair in enumerate(pairs)))
        call = self.caller.call(self.ours(model), Asked())
        found = await unless_gone(self.request, self.service.scoring.score(call, pairs))
        if isinstance(found, Response):
            raise ClientLeft
        return found

    async def rerank(
        self, query: str, texts: Sequence[str], where: str, model: str | None = None
    ) -> Scored | NoModel:
        """Scores of several responses to one prompt, which is checked under its own name."""
        refuse_too_many(len(texts), where, self.service.settings)
        refuse_too_long([("/query", query)], self.service.settings)
        return await self.score_if_any([Pair(query, text) for text in texts], where, model)

    async def score_texts(
        self, texts: Sequence[str], where: str, model: str | None = None
    ) -> Scored:
        """Scores of texts that hold prompt and response; see `full_text`."""
        refuse_too_many(len(texts), where, self.service.settings)
        self.refuse_long(where, enumerate(texts))
        return await self.score(await taken_apart(split, [[text] for text in texts]), where, model)

    def refuse_long(self, where: str, texts: Iterable[tuple[int, str]]) -> None:
        """Pass texts, given with their places, that are short enough; do so before any work.

        Raises:
            TooLarge: one is not.
        """
        refuse_too_long(((f"{where}/{at}", text) for at, text in texts), self.service.settings)

    def ours(self, model: str | None) -> str | None:
        """The name as ours; None, which is the live model, for a name of another server's."""
        return None if model and is_foreign(model, self.service.settings) else model


async def _asker(request: Request, service: ServiceDep, caller: CallerDep) -> Asker:
    return Asker(request, service, caller)


AskerDep = Annotated[Asker, Depends(_asker)]


async def taken_apart(take_apart: Callable[..., Pair], rows: Sequence[Sequence[str]]) -> list[Pair]:
    """Of each row of texts the pair, without holding up the event loop."""
    if sum(len(text) for texts in rows for text in texts) <= _QUICK_CHARACTERS:
        return [take_apart(*texts) for texts in rows]
    return await asyncio.to_thread(lambda: [take_apart(*texts) for texts in rows])


def known(found: Scored | NoModel) -> Scored:
    """The scores, where a client can read nothing but numbers.

    Raises:
        Unavailable: there is no model to score with.
    """
    if isinstance(found, NoModel):
        raise not_ready(found.reason)
    return found


def not_ready(reason: str) -> Unavailable:
    """The error of a dialect that has no other way to say that there is no model."""
    return Unavailable(reason, code="no_model", retry_after_s=5)


def numbers(scored: Scored, *, raw: bool) -> list[float]:
    """What clients of other servers call a score: the score, 0-1, or the raw reward."""
    scores = scored.scores
    found: list[float] = (scores.reward if raw else scores.probability).tolist()
    return found


def best_first(scored: Scored) -> list[int]:
    """Indices by reward, the highest first, equal ones in their order."""
    return by_number(scored.scores.reward.tolist())


def name_of(scored: Scored) -> str:
    """The version that scored, such as `reward@3`."""
    return str(scored.model)


def tokens_of(scored: Scored) -> int:
    """Tokens the model read."""
    return int(scored.scores.tokens.sum())


def window_of(model: LiveModel) -> int:
    """Tokens of prompt and response that a model reads at most."""
    manifest = model.scorer.manifest
    limit = manifest.truncation
    is_apart = manifest.template == "separate"
    return limit.response_tokens + (limit.prompt_tokens if is_apart else 0)


def usage(scored: Scored) -> dict[str, int]:
    """Tokens the model read, under the names of OpenAI's API."""
    return {"prompt_tokens": tokens_of(scored), "total_tokens": tokens_of(scored)}


def reply(
    content: object, scored: Scored, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The reply; headers say which version scored, and how many texts were not read whole."""
    own = {
        MODEL_HEADER: name_of(scored),
        "X-Heed-Truncated": str(int(scored.scores.truncated.sum())),
    }
    return JSONResponse(content, headers={**own, **(headers or {})})


def listed(data: Sequence[Mapping[str, Any]], scored: Scored, **more: object) -> dict[str, Any]:
    """The envelope around lists in OpenAI's API, and in those that follow it."""
    return {
        "object": "list",
        "model": name_of(scored),
        "data": [{"index": at, **item} for at, item in enumerate(data)],
        "usage": usage(scored),
        **more,
    }
