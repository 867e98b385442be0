"""The one scoring path: trainer, gate, policy rewards and server all call `Scorer.score`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest, Truncation
from shared.ml.calibrated import interval
from shared.ml.domain import DomainModel
from shared.ml.encoder import EMBEDDING, Encoder
from shared.ml.head import Embedded, RewardHead, dense_features, probability
from shared.ml.posterior import Posterior
from shared.ml.tokens import Window

T = TypeVar("T", bound=np.generic)
Rows = slice | Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class Turn:
    """What one side says in a conversation; the role is `system`, `user` or `assistant`, mostly."""

    role: str
    content: str


@dataclass(frozen=True)
class Pair:
    """One response to one prompt.

    Attributes:
        prompt: the prompt, or a whole conversation as one text, which most models read.
        response: the response.
        turns: the conversation before the response where it was told as such; models with a chat
            template read it in place of the prompt. Empty for a prompt that is one turn.
    """

    prompt: str
    response: str
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Scores:
    """What a reward model says of n pairs, in the order they were given; all of shape (n,).

    What only a request for details computes is None, or empty, without one, and in a model that
    does not give it.

    Attributes:
        reward: raw reward, any real number, comparable within one model version.
        probability: calibrated probability that the response is good, 0-1.
        truncated: whether some of the prompt or of the response was not read.
        tokens: tokens read, special tokens included.
        low, expected, high: interval for one more judgement and its middle, 0-1; a detail. The
            manifest's `conformal` says what it covers.
        out_of_domain: whether the pair is unlike those of training; a detail.
        uncertainty: standard deviation of the raw reward, in its units, by how little like it was
            judged; a detail.
        aspects: by aspect the log-odds of its expected rating, 0-1; a detail.
    """

    reward: NDArray[np.float64]
    probability: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    low: NDArray[np.float64] | None = None
    expected: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    out_of_domain: NDArray[np.bool_] | None = None
    uncertainty: NDArray[np.float64] | None = None
    aspects: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, rows: Rows) -> "Scores":
        """Some of the scores."""
        return Scores(
            self.reward[rows],
            self.probability[rows],
            self.truncated[rows],
            self.tokens[rows],
            low=_taken(self.low, rows),
            expected=_taken(self.expected, rows),
            high=_taken(self.high, rows),
            out_of_domain=_taken(self.out_of_domain, rows),
            uncertainty=_taken(self.uncertainty, rows),
            aspects={name: rewards[rows] for name, rewards in self.aspects.items()},
        )


def joined(parts: Sequence[Scores]) -> Scores:
    """Scores of one model one after the other; a detail that some of them lack is left out."""
    if len(parts) == 1:
        return parts[0]
    return Scores(
        np.concatenate([part.reward for part in parts]),
        np.concatenate([part.probability for part in parts]),
        np.concatenate([part.truncated for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        low=_joined([part.low for part in parts]),
        expected=_joined([part.expected for part in parts]),
        high=_joined([part.high for part in parts]),
        out_of_domain=_joined([part.out_of_domain for part in parts]),
        uncertainty=_joined([part.uncertainty for part in parts]),
        aspects={
            name: np.concatenate([part.aspects[name] for part in parts])
            for name in parts[0].aspects
            if all(name in part.aspects for part in parts)
        },
    )


def _taken(values: NDArray[T] | None, rows: Rows) -> NDArray[T] | None:
    return None if values is None else values[rows]


def _joined(parts: Sequence[NDArray[T] | None]) -> NDArray[T] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def with_interval(scores: Scores, manifest: RewardManifest) -> Scores:
    """The scores with the interval of each, where the model gives intervals."""
    if manifest.conformal is None:
        return scores
    found = interval(scores.reward, manifest.conformal, manifest.calibration)
    return replace(scores, low=found.low, expected=found.expected, high=found.high)


class Scorer(Protocol):
    """A loaded reward model; the same pair gets the same score in any batch (1e-5 in fp32)."""

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""

    @property
    def engine(self) -> str:
        """What computes the rewards, such as `torch-packed-fp32`."""

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs, with all that the model can say of them when asked for details."""

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
        views = self._read_windows(self.encoder.views, [*prompts, *responses])
        return _read(pairs, views[: len(pairs)], views[len(pairs) :], (prompts, responses))

    def _read_joined(self, pairs: Sequence[Pair], separator: str) -> _Read:
        windows = self._response_windows(
            [f"{pair.prompt}{separator}{pair.response}" for pair in pairs]
        )
        vectors = self._read_windows(self.encoder.embed, windows)
        return _Read(
            Embedded(vectors, vectors, _sizes(windows), [pair.response for pair in pairs]),
            truncated=_cuts(windows),
            tokens=_sizes(windows),
        )

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

    @staticmethod
    def _read_windows(
        read: Callable[[Sequence[Sequence[int]]], NDArray[np.float32]], windows: Sequence[Window]
    ) -> NDArray[np.float32]:
        places: dict[tuple[int, ...], int] = {}
        order = [places.setdefault(tuple(window.ids), len(places)) for window in windows]
        found: NDArray[np.float32] = read(list(places))[order]
        return found


def _read(
    pairs: Sequence[Pair],
    prompt: NDArray[np.float32],
    response: NDArray[np.float32],
    windows: tuple[Sequence[Window], Sequence[Window]],
) -> _Read:
    prompts, responses = windows
    embedded = Embedded(
        prompt[:, EMBEDDING], response[:, EMBEDDING], _sizes(responses),
        responses=[pair.response for pair in pairs], prompts=[pair.prompt for pair in pairs],
        views=response,
    )  # fmt: skip
    return _Read(
        embedded,
        truncated=_cuts(prompts) | _cuts(responses),
        tokens=_sizes(prompts) + _sizes(responses),
    )


def _sizes(windows: Sequence[Window]) -> NDArray[np.int64]:
    return np.array([len(window.ids) for window in windows], dtype=np.int64)


def _cuts(windows: Sequence[Window]) -> NDArray[np.bool_]:
    return np.array([window.truncated for window in windows], dtype=bool)


class EmbeddingScorer:
    """A frozen encoder and a linear head; see `Scorer`."""

    def __init__(
        self,
        manifest: RewardManifest,
        encoder: Encoder,
        head: RewardHead,
        domain: DomainModel | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        """Score as `manifest` says; without a domain nothing is called outside of it.

        Without a posterior the uncertainty of rewards is not known.
        """
        separator = manifest.separator if manifest.template == "joined" else None
        self._reader = PairReader(encoder, manifest.truncation, separator=separator)
        self._head = head
        self._domain = domain
        self._posterior = posterior
        self._manifest = manifest

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self._manifest

    @property
    def engine(self) -> str:
        """What computes the rewards."""
        return self._reader.encoder.engine

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs, with all that the model can say of them when asked for details."""
        read = self._reader.read(pairs)
        rows = dense_features(self._head.features, read.embedded)
        rewards = self._head.rewards_of(rows, read.embedded.responses)
        good = probability(rewards, self._manifest.calibration)
        scores = Scores(rewards, good, read.truncated, read.tokens)
        if not details:
            return scores
        return replace(
            with_interval(scores, self._manifest),
            out_of_domain=self._domain.is_outside(read.embedded) if self._domain else None,
            uncertainty=self._posterior.deviations(rows) if self._posterior else None,
            aspects=self._head.aspect_rewards(rows),
        )

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt, which is encoded once."""
        return self.score([Pair(prompt, response) for response in responses])
