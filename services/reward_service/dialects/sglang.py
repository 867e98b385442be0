"""SGLang: re-ranking as a bare list, by setting, and `/classify` with `text` for reward models."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import (
    AskerDep,
    ModelName,
    Texts,
    best_first,
    known,
    numbers,
    reply,
)
from services.reward_service.dialects.forms import (
    WRONG_IS_400,
    InForm,
    Statuses,
    openai_error,
)
from shared.contracts.scoring import Text
from shared.errors import HeedError
from shared.ids import public_id


class SglangForm(InForm):
    """OpenAI's error without an envelope; a wrong request is 400."""

    statuses: Statuses = WRONG_IS_400

    @staticmethod
    def say(error: HeedError, status: int) -> Mapping[str, Any]:
        """The error itself, marked as one."""
        return {"object": "error", **openai_error(error, status)}


class RerankBody(BaseModel):
    """Candidates for one query."""

    query: Text
    documents: list[Text] = Field(min_length=1)
    return_documents: bool = True
    top_n: int | None = Field(None, ge=0)
    model: ModelName = None


class TextBody(BaseModel):
    """One text that holds prompt and response, or several."""

    text: Text | Texts
    model: ModelName = None

    @property
    def texts(self) -> list[str]:
        """The texts, also where one was sent without a list."""
        return [self.text] if isinstance(self.text, str) else self.text


router = APIRouter(route_class=SglangForm, include_in_schema=False)


@router.post("/v1/rerank")
async def rerank(asker: AskerDep, body: RerankBody) -> JSONResponse:
    """A bare list, best first, of scores from 0 to 1."""
    scored = known(await asker.rerank(body.query, body.documents, "/documents", body.model))
    values, tokens = numbers(scored, raw=False), scored.scores.tokens.tolist()
    kept = best_first(scored)[: body.top_n or len(body.documents)]
    content = [
        {
            "score": values[at],
            "document": body.documents[at] if body.return_documents else None,
            "index": at,
            "meta_info": {"id": public_id("rerank"), "prompt_tokens": tokens[at]},
        }
        for at in kept
    ]
    return reply(content, scored)


@router.post("/classify")
async def classify(asker: AskerDep, body: TextBody) -> JSONResponse:
    """Of each text its raw reward, under the name `embedding`; of one text no list."""
    scored = await asker.score_texts(body.texts, "/text", body.model)
    rows = zip(numbers(scored, raw=True), scored.scores.tokens.tolist(), strict=True)
    content = [
        {
            "embedding": [value],
            "meta_info": {"id": public_id("classify"), "prompt_tokens": tokens},
        }
        for value, tokens in rows
    ]
    return reply(content[0] if isinstance(body.text, str) else content, scored)
