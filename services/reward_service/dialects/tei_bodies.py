"""What Text Embeddings Inference is sent, and how it says that something is wrong."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from services.reward_service.dialects.forms import InForm, Statuses
from shared.contracts.scoring import Text
from shared.errors import (
    Forbidden,
    HeedError,
    InvalidInput,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_TYPES = {
    401: "Unauthorized",
    403: "Unauthorized",
    413: "Validation",
    422: "Validation",
    424: "Backend",
    429: "Overloaded",
    503: "Unhealthy",
}


class TeiForm(InForm):
    """`{error, error_type}`: full is 429, not ready 503, what the model cannot do 424."""

    statuses: Statuses = {
        HeedError: 424,
        InvalidInput: 422,
        TooLarge: 413,
        Overloaded: 429,
        Unavailable: 503,
        Unauthenticated: 401,
        Forbidden: 403,
    }

    @staticmethod
    def say(error: HeedError, status: int) -> Mapping[str, Any]:
        """What went wrong, and which of TEI's kinds of errors it is."""
        return {"error": error.detail, "error_type": _TYPES[status]}


class Options(BaseModel):
    """What all requests may say; `truncate` false refuses a text that is too long."""

    truncate: bool | None = None
    raw_scores: bool = False


class RerankBody(Options):
    """Texts for one query; `top_n` is not TEI's, but some of its clients send it."""

    query: Text
    texts: list[Text] = Field(min_length=1)
    return_text: bool = False
    top_n: int | None = Field(None, ge=0)


class Parameters(BaseModel):
    """What `huggingface_hub` sends beside the inputs."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class PredictBody(Options):
    """A text, a pair `[prompt, response]`, or a list of lists with one or two texts each.

    Attributes:
        inputs: in every case the lists.
        is_batch: whether lists were sent.
    """

    inputs: list[Annotated[list[Text], Field(min_length=1, max_length=2)]] = Field(min_length=1)
    is_batch: bool
    parameters: Parameters | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_batch(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        sent = body.get("inputs")
        is_batch = isinstance(sent, list) and not any(isinstance(item, str) for item in sent)
        inputs = sent if is_batch else [sent if isinstance(sent, list) else [sent]]
        return {**body, "inputs": inputs, "is_batch": is_batch}

    @property
    def is_raw(self) -> bool:
        """Whether the raw reward is asked, in either client's words."""
        applied = self.parameters.function_to_apply if self.parameters else None
        return self.raw_scores or applied == "none"

    @property
    def is_nested(self) -> bool:
        """Whether the reply is a list by input: of a batch, and always for `huggingface_hub`."""
        return self.is_batch or self.parameters is not None


class Sentences(BaseModel):
    """One text, and those that are compared with it."""

    source_sentence: Text
    sentences: list[Text] = Field(min_length=1, fail_fast=True)


class SimilarityBody(Options):
    """Responses to one prompt, to be scored in their order."""

    inputs: Sentences
