"""The engine border: everything above it is text and heads, everything below it matrix products."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from shared.contracts.scoring import EngineChoice
from shared.errors import ArtifactError
from shared.logs import get_logger
from shared.ml.folders import read_json, refuse_unsafe_folder, sha256_of_backbone
from shared.ml.tokens import TextTokenizer

if TYPE_CHECKING:
    from shared.ml.quantised import Ranges

VIEWS = 3
EMBEDDING, MIDDLE, PEAK = range(VIEWS)

_POOLING = {"mean", "cls"}
_MODULES = {"Transformer", "Pooling", "Normalize"}


class Encoder(Protocol):
    """Turns token ids into vectors; one text's vector never depends on its neighbours."""

    @property
    def engine(self) -> str:
        """Name stored in manifests, such as `torch-packed-fp32`."""

    @property
    def dim(self) -> int:
        """Width of one embedding."""

    @property
    def max_tokens(self) -> int:
        """Longest row of ids, special tokens included."""

    @property
    def sha256(self) -> str:
        """Hash of the weights, configuration and tokenizer."""

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer whose ids this encoder reads."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embeddings of rows of ids (special tokens included), shape (n, dim)."""

    def views(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embedding, middle and peak of rows of ids, see `Depth`; shape (n, VIEWS, dim)."""


class WrappedEncoder:
    """What another encoder says of itself, for those that answer in its place."""

    def __init__(self, encoder: Encoder) -> None:
        """Stand in front of this encoder."""
        self.encoder = encoder

    @property
    def engine(self) -> str:
        """Name stored in manifests."""
        return self.encoder.engine

    @property
    def dim(self) -> int:
        """Width of one embedding."""
        return self.encoder.dim

    @property
    def max_tokens(self) -> int:
        """Longest row of ids, special tokens included."""
        return self.encoder.max_tokens

    @property
    def sha256(self) -> str:
        """Hash of the weights, configuration and tokenizer."""
        return self.encoder.sha256

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer whose ids this encoder reads."""
        return self.encoder.tokenizer


@dataclass(frozen=True)
class Depth:
    """Which of an encoder's hidden states are views beside the embedding; 0 is before any layer.

    The last layer was trained to tell topics apart; halfway through, states also say how a text is
    written, which is what people judge. Layers 3-5 of 6 did best on three sets of human judgements.

    Attributes:
        layers: of the encoder, >= 1.
    """

    layers: int

    @property
    def middle(self) -> range:
        """Hidden states whose average over tokens and layers is the middle."""
        return range(self.layers // 2, self.layers)

    @property
    def peak(self) -> int:
        """The hidden state whose largest value over tokens is the peak."""
        return 2 * self.layers // 3


@dataclass(frozen=True)
class Pooling:
    """How token vectors become one vector."""

    mode: str
    is_normalised: bool
    max_tokens: int


_open_encoders: WeakValueDictionary[tuple[str, str, str], Encoder] = WeakValueDictionary()
_opening = threading.Lock()


def open_encoder(
    folder: Path,
    *,
    threads: int = 1,
    engine: EngineChoice = "fitted",
    ranges: "Ranges | None" = None,
) -> Encoder:
    """The encoder in a model folder; models that share weights share one copy in memory.

    Args:
        folder: a BERT-family or sentence-transformers folder with safetensors weights.
        threads: torch threads of this process; one is best for small models on shared cores.
        engine: what computes; an architecture without faster ways runs in plain fp32 whatever is
            asked, and the log says so. For a head to be fitted on, `fitted` is fp32.
        ranges: ends of the int8 engine; with them the encoder runs in it, whatever is asked.

    Raises:
        ArtifactError: the folder is missing, unsafe, or no encoder Heed can read.
    """
    import torch

    from shared.ml.engines import FP32, INT8, arithmetic_for
    from shared.ml.packed import PackedBert, is_packable, packed_engine
    from shared.ml.packed_int8 import open_packed_int8
    from shared.ml.plain import PlainEncoder

    refuse_unsafe_folder(folder)
    sha256, config = sha256_of_backbone(folder), read_json(folder / "config.json")
    chosen = INT8 if ranges else arithmetic_for(engine) if is_packable(config) else FP32
    with _opening:
        torch.set_num_threads(threads)
        key = sha256, packed_engine(chosen), json.dumps(ranges)
        found = _open_encoders.get(key)
        if found is None:
            pooling = read_pooling(folder)
            if ranges:
                found = open_packed_int8(folder, pooling, ranges, sha256=sha256)
            elif is_packable(config):
                found = PackedBert(folder, pooling, sha256=sha256, arithmetic=chosen)
            else:
                get_logger("ml").info("encoder_fallback", model_type=config.get("model_type"))
                found = PlainEncoder(folder, pooling, sha256=sha256)
            _open_encoders[key] = found
        return found


def open_int8_encoder(
    folder: Path, token_ids: Sequence[Sequence[int]], *, threads: int = 1
) -> "tuple[Encoder, Ranges]":
    """The encoder in eight bits for a head to be fitted on, and the ends its artifact has to keep.

    Args:
        folder: as in `open_encoder`.
        token_ids: of texts like those to come, special tokens included; some hundreds are enough.
        threads: torch threads of this process.

    Raises:
        ArtifactError: the encoder is none that can be packed, or the machine has no int8.
    """
    from shared.ml.packed import is_packable
    from shared.ml.packed_int8 import find_ranges

    refuse_unsafe_folder(folder)
    if not is_packable(read_json(folder / "config.json")):
        raise ArtifactError(f"{folder} is no BERT, which the int8 engine needs; use engine fp32.")
    sha256, pooling = sha256_of_backbone(folder), read_pooling(folder)
    ranges = find_ranges(folder, pooling, token_ids, sha256=sha256)
    return open_encoder(folder, threads=threads, ranges=ranges), ranges


def read_pooling(folder: Path) -> Pooling:
    """Pooling of a sentence-transformers folder; mean without normalising for a bare encoder.

    Raises:
        ArtifactError: the folder uses a module or a pooling that Heed does not compute.
    """
    limit = _limit(folder / "config.json", "max_position_embeddings") or 512
    # Families that count places from behind the padding's have fewer than positions.
    usual = min(limit, _limit(folder / "tokenizer_config.json", "model_max_length") or limit)
    modules_path = folder / "modules.json"
    if not modules_path.is_file():
        return Pooling("mean", is_normalised=False, max_tokens=min(usual, 512))
    modules = _modules(modules_path)
    pooling_path = next((path for kind, path in modules if kind == "Pooling"), "")
    settings = folder / "sentence_bert_config.json"
    longest = read_json(settings).get("max_seq_length") if settings.is_file() else None
    return Pooling(
        _pooling_mode(folder / pooling_path / "config.json"),
        is_normalised=any(kind == "Normalize" for kind, _ in modules),
        max_tokens=min(limit, int(str(longest))) if longest else usual,
    )


def _modules(path: Path) -> list[tuple[str, str]]:
    try:
        modules = [
            (str(module["type"]).rsplit(".", 1)[-1], str(module["path"]))
            for module in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is no list of modules ({type(error).__name__}).") from None
    unknown = {kind for kind, _ in modules} - _MODULES
    if unknown:
        raise ArtifactError(
            f"{path} needs modules Heed does not run: {', '.join(sorted(unknown))}."
        )
    return modules


def _pooling_mode(path: Path) -> str:
    config = read_json(path)
    named = config.get("pooling_mode")
    flags = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    chosen = [str(named)] if named else [mode for flag, mode in flags.items() if config.get(flag)]
    if len(chosen) != 1 or chosen[0] not in _POOLING:
        raise ArtifactError(f"{path} asks for a pooling other than mean or cls.")
    return chosen[0]


def _limit(path: Path, name: str) -> int | None:
    found = read_json(path).get(name) if path.is_file() else None
    return int(found) if isinstance(found, int | float) and found > 0 else None
