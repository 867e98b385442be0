"""OpenRLHF's `/get_reward`: raw rewards of whole texts, and patience.

Its client tries five times a second apart and then ends the run, so a request waits for room in
the queue here instead of being refused.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from services.reward_service.asked import Asked
from services.reward_service.dialects.asking import (
    Asker,
    AskerDep,
    Texts,
    known,
    numbers,
    reply,
    taken_apart,
)
from services.reward_service.dialects.forms import ClientLeft, InForm
from services.reward_service.dialects.full_text import split, split_after
from services.reward_service.dialects.line import Line
from services.reward_service.limits import refuse_too_many
from services.reward_service.scoring import NoModel, Scored, unless_gone
from shared.contracts.scoring import Text
from shared.errors import Detail, InvalidInput
from shared.ml.scorer import Pair


class RewardBody(BaseModel):
    """Whole texts, and what each of them begins with; `labels` say nothing to a reward model."""

    query: Texts
    prompts: list[Text] | None = None

    async def pairs(self) -> list[Pair]:
        """Prompt and response of each text.

        Raises:
            InvalidInput: there are prompts, but not one for each text.
        """
        if not self.prompts:
            return await taken_apart(split, [[text] for text in self.query])
        if len(self.prompts) != len(self.query):
            raise InvalidInput(
                "Send one prompt for each query, or none at all.",
                errors=(Detail("/prompts", "unequal_lengths", "differs in length from /query"),),
            )
        return await taken_apart(split_after, list(zip(self.prompts, self.query, strict=True)))


router = APIRouter(route_class=InForm, include_in_schema=False)


@router.post("/get_reward")
async def get_reward(asker: AskerDep, body: RewardBody) -> JSONResponse:
    """The raw reward of each text; `scores` are between 0 and 1."""
    refuse_too_many(len(body.query), "/query", asker.service.settings)
    asker.refuse_long("/query", enumerate(body.query))
    scored = known(await _patiently(asker, await body.pairs()))
    content = {"rewards": numbers(scored, raw=True), "scores": numbers(scored, raw=False)}
    return reply(content, scored)


async def _patiently(asker: Asker, pairs: Sequence[Pair]) -> Scored | NoModel:
    """Scores, however full the queue is, within the deadline; of a caller that names none, ours."""
    settings, headers = asker.service.settings, asker.request.headers
    patience_s = settings.reward_patience_s
    if "x-deadline-ms" in headers:
        patience_s = asker.caller.deadline_s
    expires = time.monotonic() + patience_s

    async def score() -> Scored | NoModel:
        left = replace(asker.caller, deadline_s=max(0.0, expires - time.monotonic()))
        return await asker.service.scoring.score(left.call(None, Asked()), pairs)

    line: Line = asker.request.app.state.line
    found = await unless_gone(asker.request, line.wait(score, patience_s))
    if isinstance(found, Response):
        raise ClientLeft
    return found
