"""vLLM: `/score`, `/classify`, `/pooling`, `/v1/models`; its re-ranking is that of `cohere`.

veRL asks for `/classify` with `use_activation` false. A full queue must be 503 for it, because a
4xx ends its run.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, Field
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import (
    Activation,
    AskerDep,
    ModelName,
    Texts,
    listed,
    numbers,
    reply,
    window_of,
)
from services.reward_service.dialects.forks import ByBody
from services.reward_service.dialects.forms import WRONG_IS_400, OpenAiForm, Statuses
from services.reward_service.dialects.inputs import InputBody, scores_of
from services.reward_service.dialects.telling import Dialect
from services.reward_service.limits import refuse_too_many
from services.reward_service.live_models import LiveModel
from shared.errors import Detail, InvalidInput
from shared.ids import public_id
from shared.ml.scorer import Pair


class VllmForm(OpenAiForm):
    """OpenAI's errors; a wrong request is 400."""

    statuses: Statuses = WRONG_IS_400


class VllmFork(ByBody, VllmForm):
    """The same on paths that other servers have, too."""

    dialect = Dialect.VLLM


_PROMPTS = ("queries", "data_1", "text_1")
_RESPONSES = ("documents", "items", "data_2", "text_2")


class ScoreBody(BaseModel):
    """Prompts and responses: one to one, or one prompt to many responses."""

    prompts: Texts = Field(validation_alias=AliasChoices(*_PROMPTS))
    responses: Texts = Field(validation_alias=AliasChoices(*_RESPONSES))
    model: ModelName = None
    use_activation: Activation = None

    @property
    def pairs(self) -> list[Pair]:
        """Each response with its prompt.

        Raises:
            InvalidInput: there are neither one prompt nor as many as responses.
        """
        prompts, responses = self.prompts, self.responses
        if len(prompts) == 1:
            prompts = prompts * len(responses)
        if len(prompts) != len(responses):
            what = "holds neither one prompt nor one for each response"
            raise InvalidInput(
                f"The first list {what}: {len(prompts)} and {len(responses)}.",
                errors=(Detail("", "unequal_lengths", what),),
            )
        return [Pair(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


router = APIRouter(route_class=VllmFork, include_in_schema=False)


@router.post("/score")
@router.post("/v1/score")
async def score(asker: AskerDep, body: ScoreBody) -> JSONResponse:
    """The score of each pair, 0-1; without activation the raw reward."""
    sent = await asker.request.json()
    for names, texts in ((_PROMPTS, body.prompts), (_RESPONSES, body.responses)):
        where = next(f"/{name}" for name in names if name in sent)
        refuse_too_many(len(texts), where, asker.service.settings)
        asker.refuse_long(where, enumerate(texts))
    scored = await asker.score(body.pairs, "", body.model)
    values = numbers(scored, raw=body.use_activation is False)
    data = [{"object": "score", "score": value} for value in values]
    return reply(listed(data, scored, **_made("score")), scored)


@router.post("/classify")
@router.post("/v1/classify")
async def classify(asker: AskerDep, body: InputBody) -> JSONResponse:
    """Of each text the probability of the one class, good; without activation the raw reward."""
    scored = await scores_of(asker, body)
    data: Sequence[Mapping[str, Any]] = [
        {"label": "good", "probs": [value], "num_classes": 1}
        for value in numbers(scored, raw=body.use_activation is False)
    ]
    return reply(listed(data, scored, **_made("classify")), scored)


@router.post("/pooling")
async def pooling(asker: AskerDep, body: InputBody) -> JSONResponse:
    """The raw reward of each text, as of vLLM's reward models; with activation the score, 0-1."""
    scored = await scores_of(asker, body)
    values = numbers(scored, raw=body.use_activation is not True)
    data = [{"object": "pooling", "data": [value]} for value in values]
    return reply(listed(data, scored, **_made("pool")), scored)


@router.get("/v1/models")
async def models(asker: AskerDep) -> dict[str, Any]:
    """What is in memory, by the names that requests may give; the live model first."""
    project_id, live_models = asker.caller.principal.project_id, asker.service.live
    live = await live_models.resolve(project_id, None)
    named = [(live.reference.name, live.model)]
    named += [
        (str(slot.reference), slot.model)
        for slot in live_models.slots(project_id)
        if slot is not live
    ]
    return {"object": "list", "data": [_card(name, model) for name, model in named if model]}


def _card(name: str, model: LiveModel) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(model.loaded_at.timestamp()),
        "owned_by": "heed",
        "root": f"{model.name}@{model.version}",
        "parent": None,
        "max_model_len": window_of(model),
    }


def _made(kind: str) -> dict[str, Any]:
    return {"id": public_id(kind), "created": int(time.time())}
