"""Matrix products in eight bits, with steps that were fixed once on texts like those to come.

Rows are rounded to 256 levels between the ends that were seen, weights to 255 levels by output.
Because the ends are fixed, a text's numbers never depend on its neighbours. What is lost is not
little: a head has to be fitted on these numbers, and its artifact keeps the ends.

Source: Jacob et al. 2018, arXiv:1712.05877, sections 2.1-2.3.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from shared.errors import ArtifactError
from shared.ml.products import Product

RANGES_FILE = "int8.json"

T = TypeVar("T")
Ranges = Mapping[str, tuple[float, float]]

_LEVELS, _WEIGHT_LEVELS = 255, 127
_ROWS_PREPARED_FOR = 1024  # the number decides how oneDNN lays the weights out


@dataclass(frozen=True)
class Step:
    """level = value / scale + zero, an integer in 0-255."""

    scale: float
    zero: int

    @classmethod
    def between(cls, low: float, high: float) -> "Step":
        """Levels from `low` to `high`; 0 is always one of them exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-6) / _LEVELS
        return cls(scale, round(-low / scale))

    def levels(self, rows: Tensor) -> Tensor:
        """The nearest level of each number; what lies outside gets the end."""
        found = torch.add(torch.tensor(self.zero + 0.5), rows.float(), alpha=1 / self.scale)
        return found.clamp_(0, _LEVELS).to(torch.uint8)


@dataclass(frozen=True)
class QuantisedProduct:
    """rows · weightᵀ + bias in eight bits; see `shared.ml.products.Product`.

    Attributes:
        weight: levels in oneDNN's own order.
        steps: size of a weight's level by output, shape (out,).
        taken: levels of the rows it is given.
        given: levels of its GELU, which the next product takes as they are; None: it has none.
    """

    weight: Tensor
    steps: Tensor
    zeros: Tensor
    bias: Tensor
    taken: Step
    given: Step | None
    weight_bytes: int

    def __call__(self, rows: Tensor) -> Tensor:
        """The products of some rows, or of their levels, in fp32, shape (rows, out)."""
        return self._multiply(rows, Step(1.0, 0), torch.float32, "none", "")

    def gelu(self, rows: Tensor) -> Tensor:
        """Levels of the exact GELU of the products, for the product that comes next."""
        if self.given is None:
            raise ValueError("nothing takes the GELU of this product")
        return self._multiply(rows, self.given, torch.uint8, "gelu", "none")

    def _multiply(
        self, rows: Tensor, step: Step, dtype: torch.dtype, operation: str, algorithm: str
    ) -> Tensor:
        levels = rows if rows.dtype == torch.uint8 else self.taken.levels(rows)
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, self.taken.scale, self.taken.zero, self.weight, self.steps, self.zeros,
            self.bias, step.scale, step.zero, dtype, operation, [], algorithm,
        )  # fmt: skip
        return found


def quantised(
    weight: Tensor, bias: Tensor, *, taken: tuple[float, float], given: tuple[float, float] | None
) -> QuantisedProduct:
    """A layer's weights, shape (out, in), in eight bits.

    Args:
        weight: in fp32.
        bias: shape (out,), stays in fp32.
        taken: least and largest number of the rows it will be given.
        given: the same of its GELU, where the next product reads that.
    """
    steps = (weight.abs().amax(dim=1) / _WEIGHT_LEVELS).clamp(min=1e-8)
    levels = (weight / steps[:, None]).round().to(torch.int8)
    return QuantisedProduct(
        weight=torch.ops.onednn.qlinear_prepack(levels, [_ROWS_PREPARED_FOR, weight.shape[1]]),
        steps=steps,
        zeros=torch.zeros(len(steps), dtype=torch.int64),
        bias=bias.float().contiguous(),
        taken=Step.between(*taken),
        given=Step.between(*given) if given else None,
        weight_bytes=weight.numel() + 16 * len(steps),
    )


def refuse_without_int8() -> None:
    """Pass where eight bits are multiplied by instructions made for it.

    Without them products may overflow, and rewards would be others than where they were fitted.

    Raises:
        ArtifactError: this processor or this build of torch cannot.
    """
    known = torch.cpu.get_capabilities()
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (has_onednn and any(known.get(one) for one in ("avx512_vnni", "avx_vnni", "amx_int8"))):
        raise ArtifactError(
            "The int8 engine needs a processor with VNNI or AMX instructions and oneDNN; train "
            "and serve with engine fp32 here."
        )


class Recorded:
    """A product that remembers the least and the largest number it was given."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self.low, self.high = 0.0, 0.0

    def __call__(self, rows: Tensor) -> Tensor:
        """The product of some rows."""
        self._note(rows)
        return self._product(rows)

    def gelu(self, rows: Tensor) -> Tensor:
        """The GELU of the product of some rows."""
        self._note(rows)
        return self._product.gelu(rows)

    def _note(self, rows: Tensor) -> None:
        low, high = torch.aminmax(rows)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))


def write_ranges(folder: Path, ranges: Ranges) -> None:
    """Keep the ends that a head was fitted with in its artifact."""
    (folder / RANGES_FILE).write_text(json.dumps(ranges, indent=1), encoding="utf-8")


def read_ranges(folder: Path) -> Ranges:
    """The ends an artifact keeps.

    Raises:
        ArtifactError: the file is missing or is not what it should be.
    """
    path = folder / RANGES_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (float(low), float(high)) for name, (low, high) in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__}); restore the artifact."
        ) from None


def every(rows: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of some rows, evenly spread."""
    return rows[:: max(1, math.ceil(len(rows) / most))]
