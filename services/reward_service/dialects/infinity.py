"""Infinity: re-ranking and `/classify` with `raw_scores`, which tells it from vLLM and Jina."""

import time

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import (
    AskerDep,
    ModelName,
    Texts,
    name_of,
    numbers,
    reply,
    usage,
)
from services.reward_service.dialects.forms import OpenAiForm
from services.reward_service.dialects.reranking import rerank_reply
from shared.contracts.scoring import Text
from shared.ids import public_id


class RerankBody(BaseModel):
    """Candidates for one query."""

    query: Text
    documents: list[Text] = Field(min_length=1)
    raw_scores: bool = False
    return_documents: bool = False
    top_n: int | None = Field(None, ge=0)
    model: ModelName = None


class ClassifyBody(BaseModel):
    """Texts that hold prompt and response."""

    input: Texts
    raw_scores: bool = False
    model: ModelName = None


router = APIRouter(route_class=OpenAiForm, include_in_schema=False)


@router.post("/rerank")
@router.post("/v1/rerank")
@router.post("/v2/rerank")
async def rerank(asker: AskerDep, body: RerankBody) -> JSONResponse:
    """Candidates, best first; a document is its text."""
    found = await asker.rerank(body.query, body.documents, "/documents", body.model)
    shown = body.documents.__getitem__ if body.return_documents else None
    return rerank_reply(found, len(body.documents), body.top_n, raw=body.raw_scores, shown=shown)


@router.post("/classify")
async def classify(asker: AskerDep, body: ClassifyBody) -> JSONResponse:
    """Of each text a list with the one class, good, and its score."""
    scored = await asker.score_texts(body.input, "/input", body.model)
    values = numbers(scored, raw=body.raw_scores)
    content = {
        "object": "classify",
        "data": [[{"score": value, "label": "good"}] for value in values],
        "model": name_of(scored),
        "usage": usage(scored),
        "id": public_id("infinity"),
        "created": int(time.time()),
    }
    return reply(content, scored)
