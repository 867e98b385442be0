"""The routes of the reward service: score, re-rank, and say which model is live."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from services.reward_service.asked import Asked
from services.reward_service.deps import CallerDep, PrincipalDep, Service, ServiceDep
from services.reward_service.dialects.forks import ByBody
from services.reward_service.limits import refuse_too_long, refuse_too_many
from services.reward_service.live_models import UNREADABLE, LiveModel, Slot
from services.reward_service.replies import MODEL_HEADER, identity, rerank_reply, score_reply
from services.reward_service.schemas import LiveReply, LoadedModel, ReadyReply
from services.reward_service.scoring import NoModel, Scored, reason_for, unless_gone
from shared.contracts.scoring import (
    RerankReply,
    RerankRequest,
    ScoreInput,
    ScoreReply,
    ScoreRequest,
)
from shared.errors import (
    ArtifactError,
    DatabaseUnavailable,
    Forbidden,
    InvalidInput,
    MalformedBody,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from shared.keys import CACHE_S
from shared.ml.scorer import Pair, Turn
from shared.web import problems

KEY_ERRORS = (Unauthenticated, Forbidden, DatabaseUnavailable)
SCORING_ERRORS = (
    *KEY_ERRORS,
    InvalidInput,
    MalformedBody,
    TooLarge,
    NotFound,
    Overloaded,
    Unavailable,
    ArtifactError,
)

router = APIRouter(route_class=ByBody)
_hidden_rerank = partial(
    router.post,
    include_in_schema=False,
    response_model=RerankReply,
    response_model_exclude_unset=True,
)


@router.post(
    "/score",
    tags=["scoring"],
    summary="Score responses, each by itself",
    response_model=ScoreReply,
    response_model_exclude_unset=True,
    responses=problems(*SCORING_ERRORS),
)
async def score(
    request: Request,
    reply: Response,
    body: ScoreRequest,
    caller: CallerDep,
    service: ServiceDep,
) -> ScoreReply | Response:
    """Scores in the order of the inputs; without a model each is null and `fallback` is true."""
    refuse_too_many(len(body.inputs), "/inputs", service.settings)
    pairs = [_pair(item) for item in body.inputs]
    texts = (
        (f"/inputs/{at}", text)
        for at, pair in enumerate(pairs)
        for text in (pair.prompt, pair.response)
    )
    refuse_too_long(texts, service.settings)
    asked = Asked(frozenset(body.include), body.weights)
    work = service.scoring.score(caller.call(body.model, asked), pairs)
    scored = await unless_gone(request, work)
    if isinstance(scored, Response):
        return scored
    _name_model(reply, scored)
    return score_reply(scored, len(pairs), asked)


@router.post(
    "/rerank",
    tags=["scoring"],
    summary="Order candidate responses to one prompt, best first",
    response_model=RerankReply,
    response_model_exclude_unset=True,
    responses=problems(*SCORING_ERRORS),
)
@_hidden_rerank("/v1/rerank")
@_hidden_rerank("/v2/rerank")
async def rerank(
    request: Request,
    reply: Response,
    body: RerankRequest,
    caller: CallerDep,
    service: ServiceDep,
) -> RerankReply | Response:
    """Candidates, best first; without a model in the order they came, and `fallback` is true.

    Also at `/v1/rerank` and `/v2/rerank`, where the clients of Jina and Cohere look for it.
    """
    refuse_too_many(len(body.documents), "/documents", service.settings)
    texts = ((f"/documents/{at}", document.text) for at, document in enumerate(body.documents))
    refuse_too_long([("/query", body.query), *texts], service.settings)
    pairs = [Pair(body.query, document.text) for document in body.documents]
    asked = Asked(frozenset(body.include), body.weights)
    work = service.scoring.score(caller.call(body.model, asked), pairs)
    scored = await unless_gone(request, work)
    if isinstance(scored, Response):
        return scored
    _name_model(reply, scored)
    return rerank_reply(scored, body, asked)


@router.get(
    "/models/live",
    tags=["models"],
    summary="Which model is live",
    responses=problems(*KEY_ERRORS),
)
async def live_models(service: ServiceDep, principal: PrincipalDep) -> LiveReply:
    """The model behind requests that name none, and whatever else is in memory."""
    slot = await service.live.resolve(principal.project_id, None)
    return LiveReply(
        model=identity(slot.model) if slot.model else None,
        reason=None if slot.model else reason_for(slot),
        last_error=_last_error(slot),
        loaded=[
            _loaded(other.model, other)
            for other in service.live.slots(principal.project_id)
            if other.model
        ],
    )


@router.get(
    "/readyz",
    tags=["health"],
    summary="Whether requests would be answered",
    responses=problems(DatabaseUnavailable, Unavailable),
)
async def readyz(
    service: ServiceDep,
    require: Annotated[
        Literal["model"] | None, Query(description="`model`: not ready without a live model.")
    ] = None,
) -> ReadyReply:
    """200 while keys can be checked; without a model too, unless `?require=model`.

    A lost database is forgiven for as long as keys are remembered.
    """
    live = service.live
    if not live.has_looked or live.lost_s > CACHE_S:
        raise _not_looked(service)
    slot = live.default
    if require == "model" and slot.model is None:
        raise Unavailable(reason_for(slot), code="no_model", retry_after_s=5)
    return ReadyReply(
        status="ready",
        model=str(slot.model) if slot.model else "none",
        database="unreachable" if live.lost_s else "ok",
        last_error=_last_error(slot),
    )


def _name_model(reply: Response, scored: Scored | NoModel) -> None:
    if isinstance(scored, Scored):
        reply.headers[MODEL_HEADER] = str(scored.model)


def _pair(item: ScoreInput) -> Pair:
    """What is scored; a lone turn of the user is a prompt like any other."""
    turns = tuple(Turn(message.role, message.content) for message in item.messages or ())
    is_prompt = len(turns) == 1 and turns[0].role == "user"
    return Pair(item.prompt_text, item.response, () if is_prompt else turns)


def _loaded(model: LiveModel, slot: Slot) -> LoadedModel:
    return LoadedModel(
        **identity(model).model_dump(),
        reference=str(slot.reference),
        loaded_at=model.loaded_at,
        last_error=_last_error(slot),
    )


def _last_error(slot: Slot) -> str | None:
    return slot.error.detail if slot.error else None


def _not_looked(service: Service) -> Unavailable:
    if service.live.lost_s:
        return DatabaseUnavailable(UNREADABLE, retry_after_s=2)
    return Unavailable("The live model is being loaded.", code="loading", retry_after_s=1)
