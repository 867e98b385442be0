"""From scores to the replies of `/score` and `/rerank`."""

from collections.abc import Sequence
from typing import Any

from services.reward_service.asked import Asked
from services.reward_service.live_models import LiveModel
from services.reward_service.scoring import NoModel, Scored
from shared.contracts.scoring import (
    ModelIdentity,
    RerankReply,
    RerankRequest,
    RerankResult,
    ScoreReply,
    ScoreResult,
    Usage,
)
from shared.ids import public_id
from shared.ml.said import chances, said, weighted

NO_MODEL_SCORE = 0.5
MODEL_HEADER = "X-Heed-Model"


def score_reply(scored: Scored | NoModel, inputs: int, asked: Asked) -> ScoreReply:
    """The scores in the order of the inputs, or as many nulls and the reason."""
    if isinstance(scored, NoModel):
        return ScoreReply(
            model=None,
            results=[ScoreResult(score=None, truncated=False)] * inputs,
            usage=Usage(tokens=0),
            fallback=True,
            reason=scored.reason,
        )
    scores = scored.scores
    found = chances(scores, asked.weights, scored.model.scorer.manifest).tolist()
    rows = zip(found, scores.truncated.tolist(), _said(scored, asked), strict=True)
    results = [ScoreResult(score=chance, truncated=cut, **more) for chance, cut, more in rows]
    return ScoreReply(
        model=identity(scored.model),
        results=results,
        usage=Usage(tokens=int(scores.tokens.sum())),
    )


def rerank_reply(scored: Scored | NoModel, body: RerankRequest, asked: Asked) -> RerankReply:
    """The candidates, best first; without a model in the order of the request."""
    decision = public_id("dec")
    if isinstance(scored, NoModel):
        places = _top(range(len(body.documents)), body)
        unranked = [RerankResult(index=at, relevance_score=NO_MODEL_SCORE) for at in places]
        return RerankReply(
            id=decision,
            model=None,
            decision_id=decision,
            results=_with_documents(unranked, body),
            fallback=True,
            reason=scored.reason,
        )
    return RerankReply(
        id=decision,
        model=identity(scored.model),
        decision_id=decision,
        results=_with_documents(_ranked(scored, body, asked), body),
    )


def identity(model: LiveModel) -> ModelIdentity:
    """Which version a reply comes from."""
    return ModelIdentity(name=model.name, version=model.version, sha256=model.sha256)


def by_number(values: Sequence[float]) -> list[int]:
    """Indices of numbers, the highest first, equal ones in their order."""
    return sorted(range(len(values)), key=lambda index: (-values[index], index))


def _ranked(scored: Scored, body: RerankRequest, asked: Asked) -> list[RerankResult]:
    """The candidates, highest reward first, equal ones by index."""
    scores, manifest = scored.scores, scored.model.scorer.manifest
    by = weighted(scores, asked.weights, manifest) if asked.weights else scores.reward
    kept = list(_top(by_number(by.tolist()), body))
    best = _taken(scored, kept)
    found = chances(best.scores, asked.weights, manifest).tolist()
    return [
        RerankResult(index=at, relevance_score=chance, **more)
        for at, chance, more in zip(kept, found, _said(best, asked), strict=True)
    ]


def _top(order: Sequence[int], body: RerankRequest) -> Sequence[int]:
    return order[: body.top_n or len(order)]


def _with_documents(results: list[RerankResult], body: RerankRequest) -> list[RerankResult]:
    if body.return_documents:
        for result in results:
            result.document = body.documents[result.index].model_dump()
    return results


def _taken(scored: Scored, rows: Sequence[int]) -> Scored:
    steps = [scored.steps[at] for at in rows] if scored.steps else None
    return Scored(scored.model, scored.scores.take(rows), steps)


def _said(scored: Scored, asked: Asked) -> list[dict[str, Any]]:
    """The extras of each result; what the model cannot say is null."""
    scores = scored.scores
    columns = said(scores, scored.model.scorer.manifest, asked.extras, scored.steps)
    rows = zip(*columns.values(), strict=True) if columns else [()] * len(scores)
    return [dict(zip(columns, row, strict=True)) for row in rows]
