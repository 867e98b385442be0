"""The routes of the reward service: score, re-rank, and say which model is live."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from services.reward_service.deps import CallerDep, PrincipalDep, Service, ServiceDep
from services.reward_service.limits import refuse_too_long, refuse_too_many
from services.reward_service.live_models import UNREADABLE, LiveModel, Slot
from services.reward_service.schemas import LiveReply, LoadedModel, ReadyReply
from services.reward_service.scoring import NoModel, Scored, reason_for, unless_gone
from shared.contracts.scoring import (
    ModelIdentity,
    RerankReply,
    RerankRequest,
    RerankResult,
    ScoreReply,
    ScoreRequest,
    ScoreResult,
    Usage,
)
from shared.errors import (
    ArtifactError,
    DatabaseUnavailable,
    Detail,
    Forbidden,
    InvalidInput,
    MalformedBody,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from shared.ids import public_id
from shared.keys import CACHE_S
from shared.ml.scorer import Pair, Scores
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
NO_MODEL_SCORE = 0.5

router = APIRouter()
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
    request: Request, body: ScoreRequest, caller: CallerDep, service: ServiceDep
) -> ScoreReply | Response:
    """Scores in the order of the inputs; without a model each is null and `fallback` is true."""
    if "interval" in body.include:
        raise _no_interval(body.include.index("interval"))
    refuse_too_many(len(body.inputs), "/inputs", service.settings)
    pairs = [Pair(item.prompt_text, item.response) for item in body.inputs]
    texts = (
        (f"/inputs/{at}", text) for at, pair in enumerate(pairs) for text in vars(pair).values()
    )
    refuse_too_long(texts, service.settings)
    work = service.scoring.score(caller.call(body.model), pairs)
    scored = await unless_gone(request, work)
    if isinstance(scored, Response):
        return scored
    return _score_reply(scored, len(pairs), wants_raw="raw" in body.include)


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
    request: Request, body: RerankRequest, caller: CallerDep, service: ServiceDep
) -> RerankReply | Response:
    """Candidates, best first; without a model in the order they came, and `fallback` is true.

    Also at `/v1/rerank` and `/v2/rerank`, where the clients of Jina and Cohere look for it.
    """
    refuse_too_many(len(body.documents), "/documents", service.settings)
    texts = ((f"/documents/{at}", document.text) for at, document in enumerate(body.documents))
    refuse_too_long([("/query", body.query), *texts], service.settings)
    pairs = [Pair(body.query, document.text) for document in body.documents]
    scored = await unless_gone(request, service.scoring.score(caller.call(body.model), pairs))
    return scored if isinstance(scored, Response) else _rerank_reply(scored, body)


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
        model=_identity(slot.model) if slot.model else None,
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
        model=f"{slot.model.name}@{slot.model.version}" if slot.model else "none",
        database="unreachable" if live.lost_s else "ok",
        last_error=_last_error(slot),
    )


def _score_reply(scored: Scored | NoModel, inputs: int, *, wants_raw: bool) -> ScoreReply:
    if isinstance(scored, NoModel):
        return ScoreReply(
            model=None,
            results=[ScoreResult(score=None, truncated=False)] * inputs,
            usage=Usage(tokens=0),
            fallback=True,
            reason=scored.reason,
        )
    scores = scored.scores
    results = [
        ScoreResult(score=good, truncated=cut, **({"raw": reward} if wants_raw else {}))
        for reward, good, cut in zip(
            scores.reward.tolist(),
            scores.probability.tolist(),
            scores.truncated.tolist(),
            strict=True,
        )
    ]
    return ScoreReply(
        model=_identity(scored.model),
        results=results,
        usage=Usage(tokens=int(scores.tokens.sum())),
    )


def _rerank_reply(scored: Scored | NoModel, body: RerankRequest) -> RerankReply:
    decision = public_id("dec")
    if isinstance(scored, NoModel):
        unranked = [(index, NO_MODEL_SCORE) for index in range(len(body.documents))]
        return RerankReply(
            id=decision,
            model=None,
            decision_id=decision,
            results=_results(unranked, body),
            fallback=True,
            reason=scored.reason,
        )
    return RerankReply(
        id=decision,
        model=_identity(scored.model),
        decision_id=decision,
        results=_results(ranked(scored.scores), body),
    )


def ranked(scores: Scores) -> list[tuple[int, float]]:
    """Index and probability of each response, highest reward first, equal ones by index."""
    rewards = scores.reward.tolist()
    order = sorted(range(len(rewards)), key=lambda index: (-rewards[index], index))
    return [(index, float(scores.probability[index])) for index in order]


def _results(order: Sequence[tuple[int, float]], body: RerankRequest) -> list[RerankResult]:
    kept = order[: body.top_n or len(order)]
    if not body.return_documents:
        return [RerankResult(index=index, relevance_score=good) for index, good in kept]
    return [
        RerankResult(index=index, relevance_score=good, document=body.documents[index].model_dump())
        for index, good in kept
    ]


def _identity(model: LiveModel) -> ModelIdentity:
    return ModelIdentity(name=model.name, version=model.version, sha256=model.sha256)


def _loaded(model: LiveModel, slot: Slot) -> LoadedModel:
    return LoadedModel(
        **_identity(model).model_dump(),
        reference=str(slot.reference),
        loaded_at=model.loaded_at,
        last_error=_last_error(slot),
    )


def _last_error(slot: Slot) -> str | None:
    return slot.error.detail if slot.error else None


def _no_interval(index: int) -> InvalidInput:
    detail = Detail(f"/return/{index}", "no_interval", "this model gives no interval")
    return InvalidInput(
        "This model gives no reward intervals; leave `interval` out of `return`.", errors=(detail,)
    )


def _not_looked(service: Service) -> Unavailable:
    if service.live.lost_s:
        return DatabaseUnavailable(UNREADABLE, retry_after_s=2)
    return Unavailable("The live model is being loaded.", code="loading", retry_after_s=1)
