"""The packed encoder in eight bits: where its ends come from, and how it is opened with them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from shared.errors import ArtifactError
from shared.ml.encoder import Pooling
from shared.ml.engines import FP32, INT8
from shared.ml.packed import Multiply, PackedBert
from shared.ml.products import product
from shared.ml.quantised import Ranges, Recorded, every, quantised, refuse_without_int8

MOST_TEXTS = 512

_NEXT = {"wide": "narrow"}


def find_ranges(
    folder: Path, pooling: Pooling, token_ids: Sequence[Sequence[int]], *, sha256: str
) -> Ranges:
    """The ends of what each product of an encoder is given by at most `MOST_TEXTS` texts.

    Raises:
        ArtifactError: the encoder's weights cannot be read.
    """
    recorded: dict[str, Recorded] = {}

    def make(at: str, weight: Tensor, bias: Tensor) -> Multiply:
        recorded[at] = Recorded(product(weight, bias, dtype=FP32.dtype))
        return recorded[at]

    encoder = PackedBert(folder, pooling, sha256=sha256, make=make)
    encoder.views(every(token_ids, MOST_TEXTS))
    return {at: (one.low, one.high) for at, one in recorded.items()}


def open_packed_int8(folder: Path, pooling: Pooling, ranges: Ranges, *, sha256: str) -> PackedBert:
    """The encoder in eight bits, with the ends that a head was fitted with.

    Raises:
        ArtifactError: this machine has no such arithmetic, or the ends are another encoder's.
    """
    refuse_without_int8()

    def make(at: str, weight: Tensor, bias: Tensor) -> Multiply:
        layer, kind = at.rsplit(".", 1)
        following = _NEXT.get(kind)
        given = _ends(ranges, f"{layer}.{following}") if following else None
        return quantised(weight, bias, taken=_ends(ranges, at), given=given)

    return PackedBert(folder, pooling, sha256=sha256, arithmetic=INT8, make=make)


def _ends(ranges: Ranges, at: str) -> tuple[float, float]:
    try:
        return ranges[at]
    except KeyError:
        raise ArtifactError(
            f"The int8 engine has no ends for {at}; restore the artifact, or train it again."
        ) from None
