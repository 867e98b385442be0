"""The one scoring path: trainer, gate, policy rewards and server all call `Scorer.score`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest, Truncation
from shared.ml.encoder import Encoder
from shared.ml.head import Embedded, RewardHead, probability
from shared.ml.tokens import Window


@dataclass(frozen=True)
class Pair:
    """One response to one prompt."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Scores:
    """What a reward model says of n pairs, in the order they were given; all of shape (n,).

    Attributes:
        reward: raw reward, any real number, comparable within one model version.
        probability: calibrated probability that the response is good, 0–1.
        truncated: whether some of the prompt or of the response was not read.
        tokens: tokens read, special tokens included.
    """

    reward: NDArray[np.float64]
    probability: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    tokens: NDArray[np.int64]

    def take(self, rows: slice) -> "Scores":
        """Some of the scores."""
        return Scores(
            self.reward[rows], self.probability[rows], self.truncated[rows], self.tokens[rows]
        )


class Scorer(Protocol):
    """A loaded reward model; the same pair gets the same score in any batch (1e-5 in fp32)."""

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Scores of some pairs."""

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt, which is encoded once."""


@dataclass(frozen=True)
class _Read:
    """The windows of n pairs after the encoder: embeddings plus what was cut."""

    embedded: Embedded
    truncated: NDArray[np.bool_]
    tokens: NDArray[np.int64]


class PairReader:
    """Template, truncation and embedding of pairs, shared by training and scoring."""

    def __init__(self, encoder: Encoder, truncation: Truncation, *, separator: str | None) -> None:
        """Read pairs separately, or as one joined text when a separator is given."""
        self.encoder = encoder
        self.truncation = truncation
        self.separator = separator

    def read(self, pairs: Sequence[Pair]) -> _Read:
        """Embeddings of the windows of each pair; equal windows are encoded once."""
        if self.separator is not None:
            return self._read_joined(pairs, self.separator)
        prompts = self._prompt_windows([pair.prompt for pair in pairs])
        responses = self._response_windows([pair.response for pair in pairs])
        vectors = self._embed([*prompts, *responses])
        return _read(pairs, vectors[: len(pairs)], vectors[len(pairs) :], (prompts, responses))

    def _read_joined(self, pairs: Sequence[Pair], separator: str) -> _Read:
        windows = self._response_windows(
            [f"{pair.prompt}{separator}{pair.response}" for pair in pairs]
        )
        vectors = self._embed(windows)
        return _read(pairs, vectors, vectors, ([], windows))

    def _prompt_windows(self, texts: Sequence[str]) -> list[Window]:
        """One window per text; a prompt that comes again, as in a re-ranking, is read once."""
        tokenizer, limit = self.encoder.tokenizer, self.truncation.prompt_tokens
        distinct = list(dict.fromkeys(texts))
        windows = [tokenizer.tail_window(ids, limit) for ids in tokenizer.ids(distinct)]
        by_text = dict(zip(distinct, windows, strict=True))
        return [by_text[text] for text in texts]

    def _response_windows(self, texts: Sequence[str]) -> list[Window]:
        tokenizer, limit = self.encoder.tokenizer, self.truncation.response_tokens
        return [tokenizer.head_window(ids, limit) for ids in tokenizer.ids(texts)]

    def _embed(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        places: dict[tuple[int, ...], int] = {}
        order = [places.setdefault(tuple(window.ids), len(places)) for window in windows]
        return self.encoder.embed(list(places))[order]


def _read(
    pairs: Sequence[Pair],
    prompt: NDArray[np.float32],
    response: NDArray[np.float32],
    windows: tuple[Sequence[Window], Sequence[Window]],
) -> _Read:
    sizes = [np.array([len(window.ids) for window in side], dtype=np.int64) for side in windows]
    cuts = [np.array([window.truncated for window in side], dtype=bool) for side in windows]
    has_prompt = len(windows[0]) > 0
    return _Read(
        Embedded(prompt, response, sizes[1], [pair.response for pair in pairs]),
        truncated=cuts[0] | cuts[1] if has_prompt else cuts[1],
        tokens=sizes[0] + sizes[1] if has_prompt else sizes[1],
    )


class EmbeddingScorer:
    """A frozen encoder and a linear head; see `Scorer`."""

    def __init__(self, manifest: RewardManifest, encoder: Encoder, head: RewardHead) -> None:
        """Score as `manifest` says."""
        separator = manifest.separator if manifest.template == "joined" else None
        self._reader = PairReader(encoder, manifest.truncation, separator=separator)
        self._head = head
        self._manifest = manifest

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self._manifest

    def score(self, pairs: Sequence[Pair]) -> Scores:
        """Scores of some pairs."""
        read = self._reader.read(pairs)
        rewards = self._head.rewards(read.embedded)
        good = probability(rewards, self._manifest.calibration)
        return Scores(rewards, good, read.truncated, read.tokens)

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt, which is encoded once."""
        return self.score([Pair(prompt, response) for response in responses])
