"""What runs windows through a transformer with one output: ours where we have it, else plain.

Legend: n windows, h width of the vectors that rewards are read from.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.contracts.scoring import EngineChoice
from shared.errors import ArtifactError
from shared.logs import get_logger
from shared.ml.engines import arithmetic_for
from shared.ml.folders import read_json
from shared.ml.packed import is_packable, read_weights
from shared.ml.packed_classifier import PackedClassifier, is_packed_classifier
from shared.ml.pooled import PooledVectors, last_layers
from shared.ml.transformer_engine import (
    REFERENCE,
    TransformerEngine,
    engine_for,
    padding_of,
    placed,
)
from shared.ml.windows import PairWindow

Read = tuple[NDArray[np.float64], NDArray[np.float32]]


class Classifier(Protocol):
    """A transformer with one output; the same window gets the same reward in any batch."""

    @property
    def engine(self) -> str:
        """What computes the rewards, such as `torch-packed-fp32`."""

    @property
    def width(self) -> int | None:
        """h, or None where rewards are not read from one last layer."""

    def rewards(self, windows: Sequence[PairWindow]) -> NDArray[np.float64]:
        """Raw rewards, shape (n,)."""

    def read(self, windows: Sequence[PairWindow]) -> Read:
        """Raw rewards, shape (n,), and the vectors that they are read from, shape (n, h)."""


class PlainClassifier:
    """Any `AutoModelForSequenceClassification` with one label; see `Classifier`."""

    def __init__(self, model: Any, engine: TransformerEngine = REFERENCE) -> None:
        """Run a model with the arithmetic of an engine."""
        self._model = placed(model, engine)
        self._engine = engine

    @property
    def engine(self) -> str:
        """Name of the arithmetic, such as `transformers-fp32`."""
        return self._engine.name

    @property
    def width(self) -> int | None:
        """Width of what the last layer reads, if there is a single one."""
        found = last_layers(self._model)
        return found[0].in_features if len(found) == 1 else None

    def rewards(self, windows: Sequence[PairWindow]) -> NDArray[np.float64]:
        """Raw rewards, shape (n,)."""
        rewards = np.empty(len(windows), dtype=np.float64)
        for rows, batch in self._batches(windows):
            rewards[rows] = self._run(batch)
        return rewards

    def read(self, windows: Sequence[PairWindow]) -> Read:
        """Raw rewards, shape (n,), and the vectors that they are read from, shape (n, h)."""
        pooled = self._pooled
        rewards = np.empty(len(windows), dtype=np.float64)
        vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(windows)
        for rows, batch in self._batches(windows):
            rewards[rows] = self._run(batch)
            for row, vector in zip(rows, pooled.of(batch["input_ids"]), strict=True):
                vectors[row] = vector
        return rewards, np.array(vectors, dtype=np.float32)

    @cached_property
    def _pooled(self) -> PooledVectors:
        return PooledVectors(self._model)

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


def open_classifier(folder: Path, *, engine: EngineChoice = "fitted") -> Classifier:
    """What runs the classifier in a trusted folder; the log says when it is not the packed one.

    Raises:
        ArtifactError: it cannot be opened as a sequence classifier with safetensors weights.
    """
    config = read_json(folder / "config.json")
    packed = _open_packed(folder, config, engine) if is_packable(config) else None
    if packed is not None:
        return packed
    plain = PlainClassifier(_open_plain(folder), engine_for(engine))
    kind = config.get("model_type")
    get_logger("ml").info("classifier_fallback", model_type=kind, engine=plain.engine)
    return plain


def _open_packed(
    folder: Path, config: dict[str, object], engine: EngineChoice
) -> PackedClassifier | None:
    weights = read_weights(folder)
    if not is_packed_classifier(weights):
        return None
    return PackedClassifier(weights, config, arithmetic_for(engine))


def _open_plain(folder: Path) -> Any:
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
