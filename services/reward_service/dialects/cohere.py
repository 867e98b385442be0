"""Re-ranking as the clients of Cohere, Jina and vLLM ask for it: one shape that all of them read.

The reply is the union of theirs. Errors say the same in the fields each of them looks into.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import Activation, AskerDep, ModelName
from services.reward_service.dialects.forms import InForm, openai_error
from services.reward_service.dialects.reranking import rerank_reply
from shared.contracts.scoring import Candidate, Text
from shared.errors import HeedError


class CohereForm(InForm):
    """Cohere reads `message`, Jina `detail`, vLLM `error`."""

    @staticmethod
    def say(error: HeedError, status: int) -> Mapping[str, Any]:
        """The same message for each of them."""
        said = openai_error(error, status)
        return {"message": error.detail, "detail": error.detail, "error": said}


# Every document is looked through for every field.
_MOST_FIELDS = 50


class RerankBody(BaseModel):
    """Candidates for one query. Names of options that change nothing here are ignored."""

    query: Text
    documents: list[Candidate] = Field(min_length=1)
    top_n: int | None = Field(None, ge=0)
    return_documents: bool | None = None
    model: ModelName = None
    use_activation: Activation = None

    @model_validator(mode="before")
    @classmethod
    def _with_texts(cls, body: object) -> object:
        """Documents whose text is in the fields that `rank_fields` names get it as `text`."""
        if not isinstance(body, dict) or not isinstance(body.get("rank_fields"), list):
            return body
        documents = body.get("documents")
        if not isinstance(documents, list):
            return body
        fields = [field for field in body["rank_fields"] if isinstance(field, str)]
        if len(fields) > _MOST_FIELDS:
            raise ValueError(f"rank_fields names more than {_MOST_FIELDS} fields")
        return {**body, "documents": [_with_text(document, fields) for document in documents]}


router = APIRouter(route_class=CohereForm, include_in_schema=False)


@router.post("/rerank")
@router.post("/v1/rerank")
async def rerank(asker: AskerDep, body: RerankBody) -> JSONResponse:
    """Candidates, best first, with their documents unless those are refused."""
    return await _rerank(asker, body, shows=body.return_documents is not False)


@router.post("/v2/rerank")
async def rerank_v2(asker: AskerDep, body: RerankBody) -> JSONResponse:
    """The same, with documents only when asked, as Cohere."""
    return await _rerank(asker, body, shows=body.return_documents is True)


async def _rerank(asker: AskerDep, body: RerankBody, *, shows: bool) -> JSONResponse:
    documents = body.documents
    texts = [document.text for document in documents]
    found = await asker.rerank(body.query, texts, "/documents", body.model)
    return rerank_reply(
        found,
        len(texts),
        body.top_n,
        raw=body.use_activation is False,
        shown=(lambda at: documents[at].model_dump()) if shows else None,
    )


def _with_text(document: object, fields: list[str]) -> object:
    if not isinstance(document, dict):
        return document
    texts = [str(document[field]) for field in fields if field in document]
    return {**document, "text": "\n".join(texts)} if texts else document
