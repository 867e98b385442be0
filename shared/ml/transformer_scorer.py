"""Rewards of a transformer with one output: a fine-tuned one, or one that was made elsewhere."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contracts.manifest import RewardManifest
from shared.contracts.scoring import EngineChoice
from shared.errors import ArtifactError
from shared.ml.classifiers import Classifier, open_classifier
from shared.ml.folders import refuse_unsafe_folder, sha256_of_backbone
from shared.ml.head import probability
from shared.ml.last_layer import LastLayer, read_last_layer
from shared.ml.scorer import Pair, Scores, with_interval
from shared.ml.windows import PairWindow, WindowTokenizer, open_windows


class TransformerScorer:
    """`AutoModelForSequenceClassification` with one label; see `Scorer`."""

    def __init__(
        self,
        manifest: RewardManifest,
        classifier: Classifier,
        tokenizer: WindowTokenizer,
        last_layer: LastLayer | None = None,
    ) -> None:
        """Score as `manifest` says.

        `last_layer` is what details are read from; without it there are intervals only.
        """
        self._manifest = manifest
        self._classifier = classifier
        self._tokenizer = tokenizer
        self._last_layer = last_layer

    @property
    def manifest(self) -> RewardManifest:
        """What the model is."""
        return self._manifest

    @property
    def engine(self) -> str:
        """What computes the rewards, such as `torch-packed-fp32`."""
        return self._classifier.engine

    def told_by(self, manifest: RewardManifest) -> "TransformerScorer":
        """The same model with what another manifest says its rewards mean."""
        told = copy(self)
        told._manifest = manifest
        return told

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        """Scores of some pairs, with all that the model can say of them when asked for details."""
        windows = self._tokenizer.windows(pairs)
        if not details:
            return self._scores(windows, self._classifier.rewards(windows))
        if self._last_layer is None or not windows:
            return with_interval(
                self._scores(windows, self._classifier.rewards(windows)), self._manifest
            )
        rewards, vectors = self._classifier.read(windows)
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
        return self._classifier.read(self._tokenizer.windows(pairs))

    def rerank_scores(self, prompt: str, responses: Sequence[str]) -> Scores:
        """Scores of several responses to one prompt."""
        return self.score([Pair(prompt, response) for response in responses])


def open_transformer_scorer(
    folder: Path, manifest: RewardManifest, *, threads: int = 1, engine: EngineChoice = "fitted"
) -> TransformerScorer:
    """The scorer of a transformer artifact, its weights checked against the pinned hash.

    Args:
        folder: the artifact.
        manifest: what it says of itself.
        threads: torch threads of this process.
        engine: what computes, see `shared.ml.engines`.

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
    classifier = open_classifier(home, engine=engine)
    width = classifier.width
    beside = None if width is None else read_last_layer(folder, manifest, width=width)
    return TransformerScorer(manifest, classifier, tokenizer, beside)
