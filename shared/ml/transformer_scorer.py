"""Rewards of a fine-tuned transformer with one output, one pair at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest, Truncation
from shared.errors import ArtifactError
from shared.ml.domain import DomainModel, read_domain
from shared.ml.folders import refuse_unsafe_folder, sha256_of_backbone
from shared.ml.head import Embedded, probability
from shared.ml.pooled import PooledVectors, last_layers
from shared.ml.scorer import Pair, Scores, with_interval
from shared.ml.tokens import TextTokenizer

_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class PairWindow:
    """The ids a transformer reads of one pair, and whether some were cut off.

    A model that reads responses only cuts nothing off when it leaves out the prompt.
    """

    ids: list[int]
    truncated: bool


class PairTokenizer:
    """Prompt and response as one row of ids; the prompt gives way before the response does."""

    def __init__(self, folder: Path, truncation: Truncation, *, separator: str) -> None:
        """Use a folder's tokenizer; `separator` is a special token or a plain text.

        Raises:
            ArtifactError: the folder has no readable tokenizer.
        """
        self._tokenizer = TextTokenizer(folder)
        self._truncation = truncation
        special = self._tokenizer.token_id(separator)
        self._separator = [special] if special is not None else self._tokenizer.ids([separator])[0]

    def windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """prefix + end of the prompt + separator + start of the response + suffix."""
        found: list[PairWindow] = []
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            found += self._some_windows(pairs[start : start + _PAIRS_AT_ONCE])
        return found

    def _some_windows(self, pairs: Sequence[Pair]) -> list[PairWindow]:
        """Windows of few enough pairs to hold all their ids; a prompt of several is read once."""
        distinct = list(dict.fromkeys(pair.prompt for pair in pairs))
        prompts = dict(zip(distinct, self._tokenizer.ids(distinct), strict=True))
        responses = self._tokenizer.ids([pair.response for pair in pairs])
        return [
            self._window(prompts[pair.prompt], ids)
            for pair, ids in zip(pairs, responses, strict=True)
        ]

    def _window(self, prompt: list[int], response: list[int]) -> PairWindow:
        prefix, suffix = self._tokenizer.prefix, self._tokenizer.suffix
        limit = self._truncation
        fixed = len(prefix) + len(self._separator) + len(suffix)
        kept = response[: limit.response_tokens - fixed]
        room = min(limit.prompt_tokens, limit.response_tokens - fixed - len(kept))
        head = prompt[-room:] if room > 0 else []
        is_prompt_cut = limit.prompt_tokens > 0 and len(head) < len(prompt)
        is_cut = len(kept) < len(response) or is_prompt_cut
        return PairWindow([*prefix, *head, *self._separator, *kept, *suffix], is_cut)


class TransformerScorer:
    """`AutoModelForSequenceClassification` with one label, in fp32; see `Scorer`."""

    def __init__(
        self,
        manifest: RewardManifest,
        model: torch.nn.Module,
        tokenizer: PairTokenizer,
        domain: DomainModel | None = None,
    ) -> None:
        """Score as `manifest` says; texts never share a batch, so never a score.

        Without a domain nothing is called outside of it.
        """
        self._manifest = manifest
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._domain = domain

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self._manifest

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs, with the interval of each when asked for details."""
        windows = self._tokenizer.windows(pairs)
        if details and self._domain is not None and windows:
            rewards, vectors = self._read(windows)
            outside = self._domain.is_outside(as_embedded(vectors))
        else:
            rewards, outside = self._rewards(windows), None
        scores = Scores(
            reward=rewards,
            probability=probability(rewards, self._manifest.calibration),
            truncated=np.array([window.truncated for window in windows], dtype=bool),
            tokens=np.array([len(window.ids) for window in windows], dtype=np.int64),
        )
        if not details:
            return scores
        return replace(with_interval(scores, self._manifest), out_of_domain=outside)

    def rewards_and_vectors(
        self, pairs: Sequence[Pair]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Raw rewards, shape (n,), and the vectors that they are read from, shape (n, h).

        The model has to have a single last layer, as `last_layers` finds it.
        """
        return self._read(self._tokenizer.windows(pairs))

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt."""
        return self.score([Pair(prompt, response) for response in responses])

    @cached_property
    def _pooled(self) -> PooledVectors:
        return PooledVectors(self._model)

    def _read(
        self, windows: Sequence[PairWindow]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        pooled, rewards, vectors = self._pooled, [], []
        with torch.inference_mode():
            for window in windows:
                rewards.append(self._reward(window.ids))
                vectors.append(pooled.of(torch.tensor([window.ids])))
        return np.array(rewards, dtype=np.float64), np.array(vectors, dtype=np.float32)

    def _rewards(self, windows: Sequence[PairWindow]) -> NDArray[np.float64]:
        with torch.inference_mode():
            return np.array([self._reward(window.ids) for window in windows], dtype=np.float64)

    def _reward(self, ids: list[int]) -> float:
        row = torch.tensor([ids])
        return float(self._model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0, 0])


def as_embedded(vectors: NDArray[np.float32]) -> Embedded:
    """Vectors of prompt and response read together, as a domain takes them."""
    count = len(vectors)
    return Embedded(vectors, vectors, np.zeros(count, dtype=np.int64), [""] * count)


def open_transformer_scorer(
    folder: Path, manifest: RewardManifest, *, threads: int = 1
) -> TransformerScorer:
    """The scorer of a transformer artifact, its weights checked against the pinned hash.

    Raises:
        ArtifactError: the weights are unsafe, changed, or cannot be opened.
    """
    home = folder / (manifest.backbone.path or ".")
    refuse_unsafe_folder(home)
    if sha256_of_backbone(home) != manifest.backbone.sha256:
        raise ArtifactError(f"{home} does not hold the weights that its manifest names.")
    torch.set_num_threads(threads)
    tokenizer = PairTokenizer(home, manifest.truncation, separator=manifest.separator)
    model = _open_model(home)
    domain = None
    if manifest.domain is not None:
        width = last_layers(model)[0].in_features
        domain = read_domain(folder, manifest.domain, dim=width)
    return TransformerScorer(manifest, model, tokenizer, domain)


def _open_model(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForSequenceClassification

    try:
        model: torch.nn.Module = AutoModelForSequenceClassification.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{folder} cannot be opened as a sequence classifier ({type(error).__name__})."
        ) from None
    return model
