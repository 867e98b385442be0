"""The bodies and replies of `/score` and `/rerank`, for the service and for those who call it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.contracts.storable import is_unicode


def _encodable(text: str) -> str:
    if not is_unicode(text):
        raise ValueError("holds half of a surrogate pair; send valid Unicode")
    return text


Text = Annotated[str, AfterValidator(_encodable)]
ModelName = Annotated[
    str | None,
    Field(
        max_length=200,
        description="`reward`, `reward@3` or `reward:challenger`; empty means the live model.",
        examples=["reward"],
    ),
]


class Message(BaseModel):
    """One turn of a conversation."""

    role: Text = Field(min_length=1, max_length=64, examples=["user"])
    content: Text


class Spoken(Protocol):
    """What one side says in a conversation, however it came."""

    @property
    def role(self) -> str:
        """Who says it."""

    @property
    def content(self) -> str:
        """What is said."""


class ScoreInput(BaseModel):
    """One response, to a prompt or to a conversation."""

    model_config = ConfigDict(extra="forbid")

    prompt: Text | None = Field(None, examples=["What lowers high blood pressure?"])
    messages: list[Message] | None = Field(None, min_length=1, fail_fast=True)
    response: Text = Field(examples=["Less salt, more movement, and often a thiazide diuretic."])

    @model_validator(mode="after")
    def _one_of_both(self) -> "ScoreInput":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send either prompt or messages")
        return self

    @property
    def prompt_text(self) -> str:
        """The prompt, or the conversation rendered as one."""
        return render_messages(self.messages) if self.messages else self.prompt or ""


def render_messages(messages: Sequence[Spoken]) -> str:
    """A conversation as a prompt: a lone user turn is its text, else `role: text` paragraphs."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


# What rewards are computed in; `shared.ml.engines` says what each means.
EngineChoice = Literal["fitted", "auto", "fp32", "bf16", "int8"]

Extra = Literal["raw", "reward", "interval", "out_of_domain", "aspects", "steps"]
Extras = Annotated[
    list[Extra],
    Field(
        alias="return",
        description="What each result says beside its score; null where the model cannot say it.",
    ),
]


def _some_weight(weights: dict[str, float]) -> dict[str, float]:
    if weights and not any(weights.values()):
        raise ValueError("weighs nothing; give at least one aspect a weight other than 0")
    return weights


Weights = Annotated[
    dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]],
    AfterValidator(_some_weight),
    Field(
        description="How much each aspect counts in the score, `overall` among them; empty means "
        "`overall` alone.",
        examples=[{"overall": 1, "accuracy": 0.5}],
    ),
]


class ScoreRequest(BaseModel):
    """Responses to score, each by itself."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[ScoreInput] = Field(min_length=1)
    model: ModelName = None
    include: Extras = []
    weights: Weights = {}


class ModelIdentity(BaseModel):
    """The one model version a reply comes from."""

    name: str = Field(examples=["reward"])
    version: int = Field(examples=[3])
    sha256: str = Field(description="Hash of the stored artifact.")


class RewardInterval(BaseModel):
    """Bounds for one more judgement, and its middle."""

    low: float = Field(
        description="Nine of ten judgements to come lie between `low` and `high`, 0-1."
    )
    expected: float = Field(description="Middle of the interval: the rating to expect, 0-1.")
    high: float = Field(description="See `low`.")


class Said(BaseModel):
    """What a model says of one response beside the score, as far as it was asked."""

    raw: float | None = Field(
        None, description="Raw reward, comparable within one model version only."
    )
    reward: float | None = Field(
        None,
        description="Raw reward on the scale of the models before: thresholds on it stay, whatever "
        "model comes next.",
    )
    interval: RewardInterval | None = Field(
        None, description="Where judgements to come lie; wider where people differ."
    )
    out_of_domain: bool | None = Field(
        None, description="Whether prompt or response is unlike those the model learned from."
    )
    aspects: dict[str, float] | None = Field(
        None, description="By aspect the rating to expect, 0-1; `overall` is the plain score."
    )
    steps: list[float] | None = Field(
        None,
        description="The score of each reasoning step (paragraph) of the response, 0-1, by a model "
        "that judges steps.",
    )


class ScoreResult(Said):
    """What the model says of one input."""

    score: float | None = Field(
        description="Probability that the response is good, 0-1; null without a model.",
        examples=[0.71],
    )
    truncated: bool = Field(description="Whether some of the text was not read.")


class Usage(BaseModel):
    tokens: int = Field(description="Tokens the model read, special tokens included.")


class ScoreReply(BaseModel):
    """Scores in the order of the inputs, all from one model version."""

    model: ModelIdentity | None
    results: list[ScoreResult]
    usage: Usage
    fallback: bool = Field(False, description="True when no model was there to score.")
    reason: str | None = Field(None, description="Why there is no score.")


class Document(BaseModel):
    """A candidate; fields beside `text` come back as they were sent."""

    model_config = ConfigDict(extra="allow")

    text: Text


def _as_document(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Candidate = Annotated[
    Document, BeforeValidator(_as_document, json_schema_input_type=str | Document)
]


class RerankRequest(BaseModel):
    """Candidate responses to one prompt, in the shape of Cohere and Jina."""

    query: Text = Field(examples=["What lowers high blood pressure?"])
    documents: list[Candidate] = Field(
        min_length=1,
        examples=[["Take two of whatever you have.", "Less salt and more movement lower it."]],
    )
    top_n: int | None = Field(None, ge=0, description="Most results; empty or 0 means all.")
    return_documents: bool = False
    model: ModelName = None
    include: Extras = []
    weights: Weights = {}


class RerankResult(Said):
    """One candidate; `index` is its place in the request."""

    index: int
    relevance_score: float = Field(
        description="Probability that the response is good, 0–1; 0.5 without a model."
    )
    document: dict[str, Any] | None = None


class RerankReply(BaseModel):
    """Candidates, best first; equal ones keep their order."""

    id: str
    model: ModelIdentity | None
    decision_id: str = Field(description="Send it with feedback on what was shown.")
    results: list[RerankResult]
    fallback: bool = Field(False, description="True when the order is that of the request.")
    reason: str | None = Field(None, description="Why the order is that of the request.")
