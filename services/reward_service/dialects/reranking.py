"""Replies of re-rankings that are objects: what Cohere, Jina, vLLM and Infinity agree on."""

import time
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import (
    best_first,
    known,
    name_of,
    numbers,
    reply,
    tokens_of,
    usage,
)
from services.reward_service.replies import NO_MODEL_SCORE
from services.reward_service.scoring import NoModel, Scored
from shared.ids import public_id

Shown = Callable[[int], object]


def rerank_reply(
    found: Scored | NoModel,
    count: int,
    top_n: int | None,
    *,
    raw: bool,
    shown: Shown | None,
) -> JSONResponse:
    """The candidates, best first; `shown` gives the document of an index, if any is to be.

    Without a model they keep their order and say so, as natively; a raw reward cannot be made up.

    Raises:
        Unavailable: there is no model, and raw rewards were asked.
    """
    scored = known(found) if raw else found
    if isinstance(scored, NoModel):
        order, values = list(range(count)), [NO_MODEL_SCORE] * count
        more: dict[str, Any] = {"fallback": True, "reason": scored.reason}
        return JSONResponse(_content(_results(order[: top_n or count], values, shown), **more))
    kept = best_first(scored)[: top_n or count]
    results = _results(kept, numbers(scored, raw=raw), shown)
    return reply(_content(results, scored), scored)


def _results(kept: list[int], values: list[float], shown: Shown | None) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = [{"index": at, "relevance_score": values[at]} for at in kept]
    if shown is not None:
        for result in results:
            result["document"] = shown(result["index"])
    return results


def _content(
    results: list[dict[str, Any]], scored: Scored | None = None, **more: object
) -> dict[str, Any]:
    decision = public_id("dec")
    tokens = tokens_of(scored) if scored else 0
    return {
        "id": decision,
        "object": "rerank",
        "created": int(time.time()),
        "model": name_of(scored) if scored else "none",
        "decision_id": decision,
        "results": results,
        "usage": usage(scored) if scored else {"prompt_tokens": 0, "total_tokens": 0},
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        },
        **more,
    }
