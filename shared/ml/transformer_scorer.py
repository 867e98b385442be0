"""Rewards of a transformer with one output: a fine-tuned one, or one that was made elsewhere."""

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest
from shared.errors import ArtifactError
from shared.logs import get_logger
from shared.ml.folders import refuse_unsafe_folder, sha256_of_backbone
from shared.ml.head import probability
from shared.ml.last_layer import LastLayer, read_last_layer
from shared.ml.pooled import PooledVectors, last_layers
from shared.ml.scorer import Pair, Scores, with_interval
from shared.ml.transformer_engine import (
    REFERENCE,
    TransformerEngine,
    engine_for,
    padding_of,
    placed,
)
from shared.ml.windows import PairWindow, WindowTokenizer, open_windows


class TransformerScorer:
    """`AutoModelForSequenceClassification` with one label; see `Scorer`."""

    def __init__(
        self,
        manifest: RewardManifest,
        model: torch.nn.Module,
        tokenizer: WindowTokenizer,
        last_layer: LastLayer | None = None,
        engine: TransformerEngine = REFERENCE,
    ) -> None:
        """Score as `manifest` says, with the arithmetic of an engine.

        `last_layer` is what details are read from; without it there are intervals only.
        """
        self._manifest = manifest
        self._model = placed(model, engine)
        self._tokenizer = tokenizer
        self._last_layer = last_layer
        self._engine = engine

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self._manifest

    @property
    def engine(self) -> str:
        """Name of the arithmetic, such as `transformers-fp32`."""
        return self._engine.name

    def told_by(self, manifest: RewardManifest) -> "TransformerScorer":
        """The same model with what another manifest says its rewards mean."""
        told = copy(self)
        told._manifest = manifest
        return told

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs, with all that the model can say of them when asked for details."""
        windows = self._tokenizer.windows(pairs)
        if not details:
            return self._scores(windows, self._rewards(windows))
        if self._last_layer is None or not windows:
            return with_interval(self._scores(windows, self._rewards(windows)), self._manifest)
        rewards, vectors = self._read(windows)
        scores = with_interval(self._scores(windows, rewards), self._manifest)
        return self._last_layer.with_details(scores, vectors)

    def _scores(self, windows: Sequence[PairWindow], rewards: NDArray[np.float64]) -> Scores:
        return Scores(
            reward=rewards,
            probability=probability(rewards, self._manifest.calibration),
            truncated=np.array([window.truncated for window in windows], dtype=bool),
            tokens=np.array([len(window.ids) for window in windows], dtype=np.int64),
        )

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
        pooled = self._pooled
        rewards = np.empty(len(windows), dtype=np.float64)
        vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(windows)
        for rows, batch in self._batches(windows):
            rewards[rows] = self._run(batch)
            for row, vector in zip(rows, pooled.of(batch["input_ids"]), strict=True):
                vectors[row] = vector
        return rewards, np.array(vectors, dtype=np.float32)

    def _rewards(self, windows: Sequence[PairWindow]) -> NDArray[np.float64]:
        rewards = np.empty(len(windows), dtype=np.float64)
        for rows, batch in self._batches(windows):
            rewards[rows] = self._run(batch)
        return rewards

    def _batches(
        self, windows: Sequence[PairWindow]
    ) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        return self._engine.batches(windows, pad=padding_of(self._model))

    def _run(self, batch: dict[str, torch.Tensor]) -> NDArray[np.float64]:
        """The rewards of one batch of u windows, shape (u,)."""
        with torch.inference_mode():
            logits = self._model(**batch).logits[:, 0]
        found: NDArray[np.float64] = logits.double().cpu().numpy()
        return found


def open_transformer_scorer(
    folder: Path, manifest: RewardManifest, *, threads: int = 1, engine: str = "fitted"
) -> TransformerScorer:
    """The scorer of a transformer artifact, its weights checked against the pinned hash.

    Args:
        folder: the artifact.
        manifest: what it says of itself.
        threads: torch threads of this process.
        engine: `fitted`, `auto`, `fp32` or `bf16`; see `engine_for`.

    Raises:
        ArtifactError: the weights are unsafe, changed, or cannot be opened.
    """
    home = folder / (manifest.backbone.path or ".")
    refuse_unsafe_folder(home)
    if sha256_of_backbone(home) != manifest.backbone.sha256:
        raise ArtifactError(f"{home} does not hold the weights that its manifest names.")
    torch.set_num_threads(threads)
    tokenizer = open_windows(
        home, manifest.template, manifest.truncation, separator=manifest.separator
    )
    model, chosen = _open_model(home), engine_for(engine)
    kind = getattr(model.config, "model_type", None)
    get_logger("ml").info("transformer_opened", model_type=kind, engine=chosen.name)
    found = last_layers(model)
    beside = (
        read_last_layer(folder, manifest, width=found[0].in_features) if len(found) == 1 else None
    )
    return TransformerScorer(manifest, model, tokenizer, beside, chosen)


def _open_model(folder: Path) -> Any:
    import transformers
    from transformers import AutoModelForSequenceClassification

    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()
    try:
        return AutoModelForSequenceClassification.from_pretrained(
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
