"""NeMo: the reward model judge's `/reward_model_judge`, raw rewards one to a row."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import AskerDep, numbers, reply, taken_apart
from services.reward_service.dialects.forms import WRONG_IS_400, InForm, Statuses
from services.reward_service.dialects.full_text import answered
from services.reward_service.limits import refuse_too_many
from shared.contracts.scoring import Text
from shared.errors import Detail, InvalidInput

# What the judge gives a response whose format was found wrong.
WRONG_FORMAT_REWARD = -100.0


class NemoForm(InForm):
    """`{error}`; a wrong request is 400."""

    statuses: Statuses = WRONG_IS_400


class JudgeBody(BaseModel):
    """Prompts and responses, as many of each; rewards for the format multiply those given here."""

    prompts: list[Text] = Field(min_length=1)
    responses: list[Text] = Field(min_length=1)
    format_rewards: list[Annotated[float, Field(ge=-1e6, le=1e6)]] | None = None


router = APIRouter(route_class=NemoForm, include_in_schema=False)


@router.post("/reward_model_judge")
async def judge(asker: AskerDep, body: JudgeBody) -> JSONResponse:
    """The raw reward of each response."""
    formats = body.format_rewards or [1.0] * len(body.prompts)
    _refuse_unequal(len(body.prompts), len(body.responses), len(formats))
    refuse_too_many(len(body.prompts), "/prompts", asker.service.settings)
    asker.refuse_long("/prompts", enumerate(body.prompts))
    asker.refuse_long("/responses", enumerate(body.responses))
    rows = list(zip(body.prompts, body.responses, strict=True))
    pairs = await taken_apart(answered, rows)
    scored = await asker.score(pairs, "/responses")
    rewards = [
        [reward * given if given else WRONG_FORMAT_REWARD]
        for reward, given in zip(numbers(scored, raw=True), formats, strict=True)
    ]
    return reply({"rewards": rewards}, scored)


def _refuse_unequal(prompts: int, *others: int) -> None:
    if any(count != prompts for count in others):
        raise InvalidInput(
            "Send as many prompts as responses and format rewards.",
            errors=(Detail("", "unequal_lengths", "the lists differ in length"),),
        )
