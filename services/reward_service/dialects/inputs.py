"""Requests for a number of a whole text: `input`, or `messages` as in a chat."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from services.reward_service.dialects.asking import Activation, Asker, ModelName, Texts
from services.reward_service.dialects.full_text import pair_of
from services.reward_service.scoring import Scored
from shared.contracts.scoring import Message, Text


def _joined(content: object) -> object:
    """The content of a message as one text; parts that are no text are left for the refusal."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    known = [text for text in texts if isinstance(text, str)]
    return "\n".join(known) if len(known) == len(texts) else content


class ChatMessage(Message):
    """A message whose content may come in parts."""

    content: Annotated[Text, BeforeValidator(_joined)]


class InputBody(BaseModel):
    """Texts that hold prompt and response, or one conversation. Token ids are refused."""

    input: Texts | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    model: ModelName = None
    use_activation: Activation = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "InputBody":
        if (self.input is None) == (self.messages is None):
            raise ValueError("send either input or messages")
        return self


async def scores_of(asker: Asker, body: InputBody) -> Scored:
    """Scores of what was sent."""
    if body.messages is not None:
        return await asker.score([pair_of(body.messages)], "/messages", body.model)
    return await asker.score_texts(body.input or [], "/input", body.model)
