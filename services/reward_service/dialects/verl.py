"""veRL with SGLang behind it: the raw reward as the last number of an embedding."""

import base64
import struct
from typing import Literal

from fastapi import APIRouter
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import AskerDep, listed, numbers, reply
from services.reward_service.dialects.inputs import InputBody, scores_of
from services.reward_service.dialects.vllm import VllmForm

router = APIRouter(route_class=VllmForm, include_in_schema=False)


class EmbeddingBody(InputBody):
    """Texts that hold prompt and response."""

    encoding_format: Literal["float", "base64"] = "float"


@router.post("/v1/embeddings")
async def embeddings(asker: AskerDep, body: EmbeddingBody) -> JSONResponse:
    """Of each text an embedding of one number, its raw reward."""
    scored = await scores_of(asker, body)
    encode = _as_base64 if body.encoding_format == "base64" else _as_list
    values = numbers(scored, raw=True)
    data = [{"object": "embedding", "embedding": encode(value)} for value in values]
    return reply(listed(data, scored), scored)


def _as_list(value: float) -> list[float]:
    return [value]


def _as_base64(value: float) -> str:
    """Four bytes, as OpenAI's own client asks for embeddings."""
    return base64.b64encode(struct.pack("<f", value)).decode()
