"""BERT over one flat row of tokens: no padding, attention per text, the same vector in any batch.

Differs from `transformers`' BertModel only in layout. Texts are laid end to end; every matrix
product runs over all their tokens at once and only attention looks at one text at a time. Products
may be in a lower precision; what layers add to and the norms are in fp32.

Legend: t tokens of a batch with its slack, d width of a hidden state.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from shared.errors import ArtifactError
from shared.ml.attention import attend
from shared.ml.encoder import VIEWS, Depth, Pooling
from shared.ml.engines import FP32, Arithmetic
from shared.ml.folders import read_json
from shared.ml.products import product, slack
from shared.ml.tokens import TextTokenizer

Ids = Sequence[int]
Norm = tuple[Tensor, Tensor]


class Multiply(Protocol):
    """One layer's matrix product; see `shared.ml.products.Product`."""

    def __call__(self, rows: Tensor) -> Tensor:
        """The products of some rows."""

    def gelu(self, rows: Tensor) -> Tensor:
        """What the next product takes of their GELU."""


Make = Callable[[str, Tensor, Tensor], Multiply]

_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def is_packable(config: Mapping[str, object]) -> bool:
    """Whether this is the BERT architecture with absolute positions and exact GELU.

    As a decoder a BERT hides later tokens from earlier ones.
    """
    return (
        config.get("model_type") == "bert"
        and not config.get("is_decoder")
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


@dataclass(frozen=True)
class Batch:
    """Texts laid end to end, with slack behind them.

    Attributes:
        ids, places: token and position of each row, shape (t,).
        types: which part of a pair each row belongs to, shape (t,); None: all to the first.
        bounds: where texts begin and end, one more than there are texts.
    """

    ids: Tensor
    places: Tensor
    types: Tensor | None
    bounds: Sequence[int]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First row of each text and the row after its last."""
        return list(pairwise(self.bounds))


def lay_out(texts: Sequence[Ids], types: Sequence[Ids] | None, *, device: str = "cpu") -> Batch:
    """Some texts, and by token the part of the pair it belongs to, as one batch."""
    lengths = [len(ids) for ids in texts]
    bounds = [0, *accumulate(lengths)]
    empty = slack(bounds[-1])
    return Batch(
        ids=torch.tensor([*(one for ids in texts for one in ids), *[0] * empty], device=device),
        places=torch.tensor([*chain(*map(range, lengths)), *[0] * empty], device=device),
        types=None
        if types is None
        else torch.tensor([*(one for row in types for one in row), *[0] * empty], device=device),
        bounds=bounds,
    )


def batches(texts: Sequence[Ids], most_tokens: int) -> Iterator[slice]:
    """Consecutive texts of so many tokens together, or a single longer one."""
    start = size = 0
    for at, ids in enumerate(texts):
        if at > start and size + len(ids) > most_tokens:
            yield slice(start, at)
            start, size = at, 0
        size += len(ids)
    if start < len(texts):
        yield slice(start, len(texts))


@dataclass(frozen=True)
class _Layer:
    """Weights of one block; `qkv` gives query, key and value side by side, 3 · d wide."""

    qkv: Multiply
    attended: Multiply
    attended_norm: Norm
    wide: Multiply
    narrow: Multiply
    norm: Norm


class PackedLayers:
    """Embeddings and blocks of a BERT; gives the hidden states of batches."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        config: Mapping[str, object],
        arithmetic: Arithmetic,
        make: Make | None = None,
    ) -> None:
        """Take the weights of a BERT that `is_packable`, names without `bert.`.

        `make` gives the products in another way than the arithmetic's.

        Raises:
            ArtifactError: some weights are missing.
        """
        self.arithmetic = arithmetic

        def plain(_at: str, weight: Tensor, bias: Tensor) -> Multiply:
            return product(weight, bias, dtype=arithmetic.dtype, device=arithmetic.device)

        self.width = int(str(config["hidden_size"]))
        self._heads = int(str(config["num_attention_heads"]))
        self._epsilon = float(str(config.get("layer_norm_eps", 1e-12)))
        device = arithmetic.device
        words, positions, types = (
            _one(weights, f"embeddings.{kind}_embeddings.weight").to(device)
            for kind in ("word", "position", "token_type")
        )
        self._words, self._types, self._positions = words, types, positions
        self._norm = _norm(weights, "embeddings.LayerNorm", device)
        self.layers = [
            _layer(weights, f"encoder.layer.{index}", make or plain, device)
            for index in range(int(str(config["num_hidden_layers"])))
        ]

    def states(self, batch: Batch) -> Iterator[Tensor]:
        """Hidden states before each block and after the last, each of shape (t, d), in fp32."""
        types = self._types[0] if batch.types is None else self._types[batch.types]
        rows = self._words[batch.ids] + (self._positions[batch.places] + types)
        rows = self._norm_rows(rows, self._norm)
        spans = batch.spans
        for layer in self.layers:
            yield rows
            rows = self._block(rows, layer, spans)
        yield rows

    def _block(self, rows: Tensor, layer: _Layer, spans: Sequence[tuple[int, int]]) -> Tensor:
        mixed = attend(layer.qkv(rows), spans, heads=self._heads)
        rows = self._norm_rows(rows + layer.attended(mixed), layer.attended_norm)
        return self._norm_rows(rows + layer.narrow(layer.wide.gelu(rows)), layer.norm)

    def _norm_rows(self, rows: Tensor, weights: Norm) -> Tensor:
        return functional.layer_norm(rows, (self.width,), *weights, eps=self._epsilon)


class PackedBert:
    """A BERT-family encoder; see `shared.ml.encoder.Encoder`."""

    def __init__(
        self,
        folder: Path,
        pooling: Pooling,
        *,
        sha256: str,
        arithmetic: Arithmetic = FP32,
        make: Make | None = None,
    ) -> None:
        """Read the weights of a folder that `is_packable`; `make` as in `PackedLayers`.

        Raises:
            ArtifactError: there are no safetensors weights, or some are missing.
        """
        self.engine = packed_engine(arithmetic)
        self.sha256 = sha256
        self.tokenizer = TextTokenizer(folder)
        self.max_tokens = pooling.max_tokens
        self._pooling = pooling
        self._layers = PackedLayers(
            read_weights(folder), read_json(folder / "config.json"), arithmetic, make
        )
        self.dim = self._layers.width

    def embed(self, token_ids: Sequence[Ids]) -> NDArray[np.float32]:
        """Embeddings of rows of ids (special tokens included), shape (n, dim)."""
        return self.views(token_ids)[:, 0]

    def views(self, token_ids: Sequence[Ids]) -> NDArray[np.float32]:
        """Embedding, middle and peak of rows of ids, shape (n, VIEWS, dim)."""
        if not token_ids:
            return np.empty((0, VIEWS, self.dim), np.float32)
        arithmetic = self._layers.arithmetic
        with torch.inference_mode():
            found = [
                self._view_batch(lay_out(token_ids[some], None, device=arithmetic.device))
                for some in batches(token_ids, arithmetic.batch_tokens)
            ]
            return torch.cat(found).cpu().numpy()

    def _view_batch(self, batch: Batch) -> Tensor:
        depth = Depth(len(self._layers.layers))
        middle = peak = rows = torch.zeros(())
        for at, rows in enumerate(self._layers.states(batch)):
            middle = middle.to(rows) + rows if at in depth.middle else middle
            peak = rows if at == depth.peak else peak
        middle = middle / len(depth.middle)
        views = [
            torch.stack([self._pool(rows[a:b]), middle[a:b].mean(dim=0), peak[a:b].amax(dim=0)])
            for a, b in batch.spans
        ]
        return torch.stack(views)

    def _pool(self, rows: Tensor) -> Tensor:
        pooled = rows[0] if self._pooling.mode == "cls" else rows.mean(dim=0)
        return functional.normalize(pooled, dim=0) if self._pooling.is_normalised else pooled


def packed_engine(arithmetic: Arithmetic) -> str:
    """Name of the packed engine in some arithmetic, as manifests and metrics have it."""
    return f"torch-packed-{arithmetic.name}"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder by name, without the prefix `bert.`, in fp32.

    The oldest BERTs have norms of `gamma` and `beta`, which are called weight and bias since.

    Raises:
        ArtifactError: there are no safetensors weights, or they cannot be read.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ArtifactError(
            f"{folder} holds no safetensors weights; save the model as safetensors."
        )
    try:
        loaded = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{folder} holds weights that cannot be read ({type(error).__name__}); copy them again."
        ) from None
    return {_today(name.removeprefix("bert.")): tensor.float() for name, tensor in loaded.items()}


def _today(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _layer(weights: Mapping[str, Tensor], at: str, make: Make, device: str) -> _Layer:
    def multiplied(kind: str, *names: str) -> Multiply:
        parts = [[_one(weights, f"{at}.{name}.{part}") for name in names] for part in _KINDS]
        weight, bias = (torch.cat(some) for some in parts)
        return make(f"{at}.{kind}", weight, bias)

    own = "attention.self"
    return _Layer(
        qkv=multiplied("qkv", f"{own}.query", f"{own}.key", f"{own}.value"),
        attended=multiplied("attended", "attention.output.dense"),
        attended_norm=_norm(weights, f"{at}.attention.output.LayerNorm", device),
        wide=multiplied("wide", "intermediate.dense"),
        narrow=multiplied("narrow", "output.dense"),
        norm=_norm(weights, f"{at}.output.LayerNorm", device),
    )


_KINDS = ("weight", "bias")


def _norm(weights: Mapping[str, Tensor], name: str, device: str) -> Norm:
    weight, bias = (_one(weights, f"{name}.{kind}").to(device) for kind in _KINDS)
    return weight, bias


def _one(weights: Mapping[str, Tensor], name: str) -> Tensor:
    try:
        return weights[name]
    except KeyError:
        raise ArtifactError(f"The encoder's weights lack {name}; the file is incomplete.") from None
