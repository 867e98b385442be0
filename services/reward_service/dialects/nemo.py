"""NeMo: the reward model judge's `/reward_model_judge`, raw rewards one to a row."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.reward_service.dialects.asking import AskerDep, numbers, reply
from services.reward_service.dialects.forms import InForm, Statuses
from services.reward_service.dialects.full_text import answered
from shared.contracts.scoring import Text
from shared.errors import Detail, InvalidInput, TooLarge

# What the judge gives a response whose format was found wrong.
WRONG_FORMAT_REWARD = -100.0


class NemoForm(InForm):
    """`{error}`; a wrong request is 400."""

    statuses: Statuses = {InvalidInput: 400, TooLarge: 413}


class JudgeBody(BaseModel):
    """Prompts and responses, as many of each; rewards for the format multiply those given here."""

    prompts: list[Text] = Field(min_length=1)
    responses: list[Text] = Field(min_length=1)
    format_rewards: list[Annotated[float, Field(allow_inf_nan=False)]] | None = None


router = APIRouter(route_class=NemoForm, include_in_schema=False)


@router.post("/reward_model_judge")
async def judge(asker: AskerDep, body: JudgeBody) -> JSONResponse:
    """The raw reward of each response."""
    formats = body.format_rewards or [1.0] * len(body.prompts)
    _refuse_unequal(len(body.prompts), len(body.responses), len(formats))
    asker.refuse_long("/prompts", enumerate(body.prompts))
    pairs = [
        answered(prompt, response)
        for prompt, response in zip(body.prompts, body.responses, strict=True)
    ]
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
