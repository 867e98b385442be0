"""A BERT with one output over one flat row of tokens: every window alone, no padding.

Differs from `transformers`' BertForSequenceClassification only in layout; see `shared.ml.packed`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.ml.engines import Arithmetic
from shared.ml.packed import Batch, PackedLayers, batches, lay_out, packed_engine
from shared.ml.products import product, slack
from shared.ml.windows import PairWindow

_POOLER, _LAST = "pooler.dense", "classifier"


def is_packed_classifier(weights: Mapping[str, Tensor]) -> bool:
    """Whether a BERT's weights, names without `bert.`, end in a pooler and one output."""
    last = weights.get(f"{_LAST}.weight")
    return f"{_POOLER}.weight" in weights and last is not None and len(last) == 1


class PackedClassifier:
    """Runs windows through a BERT; see `shared.ml.classifiers.Classifier`."""

    def __init__(
        self, weights: Mapping[str, Tensor], config: Mapping[str, object], arithmetic: Arithmetic
    ) -> None:
        """Take the weights of a classifier that `is_packed_classifier`.

        Raises:
            ArtifactError: some weights are missing.
        """
        self.engine = packed_engine(arithmetic)
        self._layers = PackedLayers(weights, config, arithmetic)
        device = arithmetic.device
        pooler = weights[f"{_POOLER}.weight"], weights[f"{_POOLER}.bias"]
        self._pooler = product(*pooler, dtype=torch.float32, device=device)
        self._last = weights[f"{_LAST}.weight"][0].double(), weights[f"{_LAST}.bias"][0].double()

    @property
    def width(self) -> int:
        """Of the vectors that rewards are read from."""
        return self._layers.width

    def rewards(self, windows: Sequence[PairWindow]) -> NDArray[np.float64]:
        """Raw rewards, shape (n,)."""
        return self.read(windows)[0]

    def read(
        self, windows: Sequence[PairWindow]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Raw rewards, shape (n,), and the vectors that they are read from, shape (n, h)."""
        if not windows:
            return np.empty(0), np.empty((0, self.width), np.float32)
        ids = [window.ids for window in windows]
        arithmetic = self._layers.arithmetic
        with torch.inference_mode():
            parts = [
                self._vectors(lay_out(ids[some], _types(windows[some]), device=arithmetic.device))
                for some in batches(ids, arithmetic.batch_tokens)
            ]
            vectors = torch.cat(parts).cpu()
            weight, bias = self._last
            # Row by row: a product's last bits depend on how many rows it has.
            rewards = (vectors.double() * weight).sum(dim=1) + bias
        return rewards.numpy(), vectors.numpy()

    def _vectors(self, batch: Batch) -> Tensor:
        *_, rows = self._layers.states(batch)
        starts = [start for start, _ in batch.spans]
        tops = functional.pad(rows[starts], (0, 0, 0, slack(len(starts))))
        return torch.tanh(self._pooler(tops))[: len(starts)]


def _types(windows: Sequence[PairWindow]) -> list[list[int]] | None:
    found = [window.types for window in windows if window.types is not None]
    return found if len(found) == len(windows) else None
