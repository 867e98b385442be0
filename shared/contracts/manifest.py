"""What `reward_model.json` says: everything needed to score exactly as the trainer did."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Feature = Literal[
    "text", "response", "product", "length", "lexical", "middle", "peak", "surface", "overlap"
]
Template = Literal["joined", "separate", "pair", "chat"]
Process = Literal["min", "mean"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Backbone(_Strict):
    """The encoder or transformer that the rewards come from, pinned by its content."""

    name: str = Field(description="As the trainer was asked: a known name, a hub id or a folder.")
    revision: str | None = Field(None, description="Commit of a hub id.")
    sha256: str = Field(description="Over the names and contents of weights, config, tokenizer.")
    path: Literal["encoder", "."] | None = Field(
        None, description="Folder inside the artifact; empty means the installed copy of `name`."
    )
    engine: str = Field(description="Engine whose numbers the head was fitted on.")
    dim: int = Field(ge=1, description="Width of one embedding; 1 for a transformer.")


class Truncation(_Strict):
    """How many tokens are read, special tokens included."""

    prompt_tokens: int = Field(ge=0, description="Window of the prompt, cut from the left.")
    response_tokens: int = Field(ge=1, description="Window of the response, cut from the right.")


class Calibration(_Strict):
    """Probability of a good response = sigmoid(slope · reward + intercept)."""

    slope: float = Field(gt=0)
    intercept: float
    method: Literal["platt-grouped-out-of-fold", "logistic-head", "none"]


class Curve(_Strict):
    """A piecewise linear function of the raw reward, through its knots and flat outside them."""

    rewards: tuple[float, ...] = Field(min_length=1, description="Where the knots are, ascending.")
    values: tuple[float, ...] = Field(min_length=1, description="The function's value there.")


class Conformal(_Strict):
    """An interval for one more judgement: centre ± quantile · spread, within 0-1.

    `rating`: covers what a person gives a response, on the 0-1 scale of quality. `label`: covers
    1 when a person finds the response good, or prefers it, and else 0; the centre is then the
    calibrated probability.
    """

    target: Literal["rating", "label"]
    level: float = Field(gt=0, lt=1, description="Share of judgements that lie inside.")
    quantile: float | None = Field(description="Empty: too few prompts; the interval is 0 to 1.")
    centre: Curve | None = Field(None, description="Expected rating, 0-1; empty for labels.")
    spread: Curve | None = Field(None, description="Typical distance to it; empty for labels.")
    groups: int = Field(ge=1, description="Prompts whose judgements the quantile comes from.")


class Domain(_Strict):
    """From which Mahalanobis distance on a text is unlike those of training."""

    parts: tuple[Literal["prompt", "response"], ...] = Field(
        description="Embeddings that are looked at; their means and precisions are in a file."
    )
    threshold: float = Field(gt=0, description="Largest distance of a part still inside.")
    level: float = Field(gt=0, lt=1, description="Share of held-out training texts inside.")
    groups: int = Field(ge=1, description="Prompts that the threshold comes from.")


class Continuity(_Strict):
    """The scale of earlier models: a rising, piecewise linear map of the raw reward."""

    reference: str = Field(description="The model version whose scale it is, `name@version`.")
    rewards: tuple[float, ...] = Field(min_length=2, description="Own rewards, ascending.")
    values: tuple[float, ...] = Field(min_length=2, description="Rewards on the kept scale.")
    slope: float = Field(gt=0, description="Of the map beyond its knots.")
    texts: int = Field(ge=2, description="Responses that both models scored.")


class Golden(_Strict):
    """Bundled synthetic inputs with their rewards; a sample is scored again at load."""

    rows: int = Field(ge=100)
    tolerance: float = Field(gt=0, description="Largest accepted difference of a raw reward.")


class RewardManifest(_Strict):
    """One trained reward model; signed over all fields but `signature`."""

    schema_version: Literal[1] = 1
    kind: Literal["embedding", "transformer"]
    mode: Literal["original", "default", "transformer", "added"]
    template: Template
    separator: str = Field(
        "",
        description="Text between prompt and response; for the template `pair` empty means the "
        "tokenizer's own layout of two texts.",
    )
    features: tuple[Feature, ...] = ()
    truncation: Truncation
    backbone: Backbone
    calibration: Calibration
    conformal: Conformal | None = None
    domain: Domain | None = None
    continuity: Continuity | None = None
    aspects: tuple[str, ...] = Field((), description="Aspects the head has rewards for, beside it.")
    process: Process | None = Field(
        None, description="Rewards are of reasoning steps; a response gets the least or the mean."
    )
    metrics: dict[str, float | int | str | None]
    parameters: dict[str, float | int | str | bool | None]
    dataset_snapshot: str
    code_version: str
    created_at: datetime
    golden: Golden
    files: dict[str, str] = Field(description="sha256 of every other file, by relative path.")
    signature: str = Field("", description="HMAC-SHA256, hex, with the deployment's secret.")
