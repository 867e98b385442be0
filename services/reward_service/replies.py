"""From scores to the replies of `/score` and `/rerank`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.reward_service.asked import Asked, good, logits, weighted
from services.reward_service.live_models import LiveModel
from services.reward_service.scoring import NoModel, Scored
from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import (
    ModelIdentity,
    RerankReply,
    RerankRequest,
    RerankResult,
    RewardInterval,
    ScoreReply,
    ScoreResult,
    Usage,
)
from shared.ids import public_id
from shared.ml.calibrated import on_kept_scale
from shared.ml.scorer import Scores

NO_MODEL_SCORE = 0.5

Column = Sequence[object]


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
    chances = _chances(scores, asked, scored.model.scorer.manifest).tolist()
    said = _said(scored, asked)
    results = [
        ScoreResult(score=chance, truncated=cut, **more)
        for chance, cut, more in zip(chances, scores.truncated.tolist(), said, strict=True)
    ]
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


def _ranked(scored: Scored, body: RerankRequest, asked: Asked) -> list[RerankResult]:
    """The candidates, highest reward first, equal ones by index."""
    scores, manifest = scored.scores, scored.model.scorer.manifest
    by = weighted(scores, asked.weights, manifest) if asked.weights else scores.reward
    values = by.tolist()
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))
    kept = list(_top(order, body))
    best = _taken(scored, kept)
    chances = _chances(best.scores, asked, manifest).tolist()
    return [
        RerankResult(index=at, relevance_score=chance, **more)
        for at, chance, more in zip(kept, chances, _said(best, asked), strict=True)
    ]


def _top(order: Sequence[int], body: RerankRequest) -> Sequence[int]:
    return order[: body.top_n or len(order)]


def _with_documents(results: list[RerankResult], body: RerankRequest) -> list[RerankResult]:
    if body.return_documents:
        for result in results:
            result.document = body.documents[result.index].model_dump()
    return results


def _chances(scores: Scores, asked: Asked, manifest: RewardManifest) -> NDArray[np.float64]:
    if not asked.weights:
        return scores.probability
    return good(weighted(scores, asked.weights, manifest))


def _taken(scored: Scored, rows: Sequence[int]) -> Scored:
    steps = [scored.steps[at] for at in rows] if scored.steps else None
    return Scored(scored.model, scored.scores.take(rows), steps)


def _said(scored: Scored, asked: Asked) -> list[dict[str, Any]]:
    """The extras of each result; what the model cannot say is null."""
    scores, manifest = scored.scores, scored.model.scorer.manifest
    columns: dict[str, Column] = {}
    if "raw" in asked.extras:
        columns["raw"] = scores.reward.tolist()
    if "reward" in asked.extras:
        columns["reward"] = on_kept_scale(scores.reward, manifest.continuity).tolist()
    if "interval" in asked.extras:
        columns["interval"] = _intervals(scores)
    if "out_of_domain" in asked.extras:
        columns["out_of_domain"] = _listed(scores.out_of_domain, scores)
    if "aspects" in asked.extras:
        columns["aspects"] = _aspects(scores, manifest)
    if "steps" in asked.extras:
        columns["steps"] = scored.steps or [None] * len(scores)
    rows = zip(*columns.values(), strict=True) if columns else [()] * len(scores)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _listed(values: NDArray[Any] | None, scores: Scores) -> Column:
    return [None] * len(scores) if values is None else values.tolist()


def _intervals(scores: Scores) -> Column:
    if scores.low is None or scores.expected is None or scores.high is None:
        return [None] * len(scores)
    bounds = (scores.low.tolist(), scores.expected.tolist(), scores.high.tolist())
    return [
        RewardInterval(low=low, expected=expected, high=high)
        for low, expected, high in zip(*bounds, strict=True)
    ]


def _aspects(scores: Scores, manifest: RewardManifest) -> Column:
    by_name = {name: good(odds).tolist() for name, odds in logits(scores, manifest).items()}
    rows = zip(*by_name.values(), strict=True)
    return [dict(zip(by_name, row, strict=True)) for row in rows]
