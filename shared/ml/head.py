"""The linear reward head in float64: where an embedding becomes a reward.

Legend: n texts, d = width of one embedding, f = sum of the widths of the features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from shared.contracts.manifest import Calibration, Feature
from shared.errors import ArtifactError
from shared.ml.encoder import MIDDLE, PEAK
from shared.ml.lexical import BUCKETS, LexicalWeights
from shared.ml.surface import OVERLAP, SURFACE, overlap, surface

HEAD_FILE = "head.safetensors"

Floats = NDArray[np.float64]

_ASPECT = "aspect."
_NO_ASPECTS: Mapping[str, Floats] = MappingProxyType({})


@dataclass(frozen=True)
class Embedded:
    """What the encoder gave for n pairs; `prompt` and `response` have shape (n, d).

    In the joined template `response` is the embedding of the whole text, `prompt` is unused, and
    what comes after the texts of the responses is missing.

    Attributes:
        prompts: the texts; what a model counts in them it counts in the whole.
        views: all views of the responses, shape (n, VIEWS, d); the first of them is `response`.
    """

    prompt: NDArray[np.float32]
    response: NDArray[np.float32]
    response_tokens: NDArray[np.int64]
    responses: Sequence[str]
    prompts: Sequence[str] = ()
    views: NDArray[np.float32] | None = None


def join_embedded(parts: Sequence[Embedded]) -> Embedded:
    """All pairs of some parts, in order."""
    views = [part.views for part in parts if part.views is not None]
    return Embedded(
        prompt=np.concatenate([part.prompt for part in parts]),
        response=np.concatenate([part.response for part in parts]),
        response_tokens=np.concatenate([part.response_tokens for part in parts]),
        responses=[text for part in parts for text in part.responses],
        prompts=[text for part in parts for text in part.prompts],
        views=np.concatenate(views) if len(views) == len(parts) else None,
    )


@dataclass(frozen=True)
class RewardHead:
    """reward = bias + features · weights (+ words), with `weights` of shape (f,), float64.

    Attributes:
        aspects: by name of an aspect people rated, such as `accuracy`, the weights of its own
            reward with the bias last, shape (f + 1,); words play no part in aspects.
    """

    features: tuple[Feature, ...]
    weights: Floats
    bias: float
    lexical: LexicalWeights | None = None
    aspects: Mapping[str, Floats] = field(default_factory=lambda: _NO_ASPECTS)

    def rewards(self, embedded: Embedded) -> Floats:
        """One raw reward a pair, shape (n,), any real number, in nats of log-odds."""
        return self.rewards_of(dense_features(self.features, embedded), embedded.responses)

    def rewards_of(self, rows: Floats, responses: Sequence[str]) -> Floats:
        """`rewards` of pairs whose dense features, shape (n, f), are known already."""
        found = self.bias + rows @ self.weights
        if self.lexical is not None:
            found = found + self.lexical.rewards(responses)
        return np.asarray(found, dtype=np.float64)

    def aspect_rewards(self, rows: Floats) -> dict[str, Floats]:
        """By aspect one number a pair, shape (n,): the log-odds of its expected rating in 0-1.

        `sigmoid` of it is the rating people are expected to give, 0 for the lowest and 1 for the
        highest; aspects are therefore comparable with one another. `rows` are the pairs' dense
        features, shape (n, f).
        """
        return {name: rows @ found[:-1] + found[-1] for name, found in self.aspects.items()}

    def to_bytes(self) -> bytes:
        """The head as a safetensors file."""
        tensors: dict[str, NDArray[np.generic]] = {
            "weights": self.weights,
            "bias": np.array([self.bias]),
        }
        if self.lexical is not None:
            tensors |= {"lexical.idf": self.lexical.idf, "lexical.weights": self.lexical.weights}
        tensors |= {f"{_ASPECT}{name}": found for name, found in self.aspects.items()}
        return save(tensors)


def read_head(folder: Path, features: tuple[Feature, ...], *, dim: int) -> RewardHead:
    """The head stored in an artifact folder.

    Raises:
        ArtifactError: the file is missing, broken, or its shapes do not fit the features.
    """
    path = folder / HEAD_FILE
    try:
        tensors = load_file(path)
        weights, bias = tensors["weights"], float(tensors["bias"][0])
        has_words = "lexical" in features
        lexical = (
            LexicalWeights(tensors["lexical.idf"], tensors["lexical.weights"])
            if has_words
            else None
        )
        aspects = {
            name.removeprefix(_ASPECT): found
            for name, found in sorted(tensors.items())
            if name.startswith(_ASPECT)
        }
    except (OSError, SafetensorError, KeyError, IndexError) as error:
        raise ArtifactError(
            f"{path} is not a readable reward head ({type(error).__name__}); restore the artifact."
        ) from None
    fits_words = lexical is None or len(lexical.idf) == len(lexical.weights) == BUCKETS
    width = dense_width(features, dim)
    fits_aspects = all(found.shape == (width + 1,) for found in aspects.values())
    if weights.shape != (width,) or not fits_words or not fits_aspects:
        raise ArtifactError(f"{path} does not fit the features of its manifest.")
    return RewardHead(features, weights, bias, lexical, aspects)


def dense_width(features: Sequence[Feature], dim: int) -> int:
    """f: how many numbers `dense_features` gives a pair."""
    widths: dict[Feature, int] = {
        "text": dim, "response": dim, "product": dim, "middle": dim, "peak": dim,
        "surface": SURFACE, "overlap": OVERLAP, "length": 1, "lexical": 0,
    }  # fmt: skip
    return sum(widths[feature] for feature in features)


def dense_features(features: Sequence[Feature], embedded: Embedded) -> Floats:
    """The features side by side, shape (n, f), float64; words are not among them.

    | feature | what it is |
    |---|---|
    | `text`, `response` | the embedding |
    | `product` | prompt × response, element by element |
    | `middle`, `peak` | views of the response from inside the encoder (`shared.ml.encoder.Depth`) |
    | `surface` | form of the response (`shared.ml.surface`) |
    | `overlap` | words shared with the prompt (`shared.ml.surface`) |
    | `length` | ln(1 + tokens of the response) |
    """
    blocks = [_BLOCKS[feature](embedded) for feature in features if feature != "lexical"]
    if not blocks:
        return np.empty((len(embedded.response), 0))
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def _response(embedded: Embedded) -> Floats:
    return embedded.response.astype(np.float64)


def _product(embedded: Embedded) -> Floats:
    return embedded.prompt.astype(np.float64) * embedded.response


def _length(embedded: Embedded) -> Floats:
    return np.log1p(embedded.response_tokens.astype(np.float64))[:, None]


def _view(embedded: Embedded, at: int) -> Floats:
    if embedded.views is None:
        raise ArtifactError("A head on views of the encoder needs prompt and response apart.")
    return np.asarray(embedded.views[:, at], dtype=np.float64)


_BLOCKS: dict[Feature, Callable[[Embedded], Floats]] = {
    "text": _response,
    "response": _response,
    "product": _product,
    "length": _length,
    "middle": lambda embedded: _view(embedded, MIDDLE),
    "peak": lambda embedded: _view(embedded, PEAK),
    "surface": lambda embedded: surface(embedded.responses),
    "overlap": lambda embedded: overlap(embedded.prompts, embedded.responses),
}


def probability(rewards: Floats, calibration: Calibration) -> Floats:
    """P(good response) of each raw reward, shape (n,), 0–1."""
    logits = calibration.slope * rewards + calibration.intercept
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)), dtype=np.float64)
