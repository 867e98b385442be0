"""Matrix products of one layer's weights, laid out once for the kernel that multiplies them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 16  # products over fewer rows take another kernel, whose last bits differ


@dataclass(frozen=True)
class Product:
    """rows · weightᵀ + bias, in the precision of `bias`.

    Attributes:
        weight: shape (out, in), or oneDNN's own order of it, which no other code can read.
        bias: shape (out,).
        is_laid_out: whether `weight` is in oneDNN's order; saves a fifth of the time in fp32.
        weight_bytes: memory of both.
    """

    weight: Tensor
    bias: Tensor
    is_laid_out: bool
    weight_bytes: int

    def __call__(self, rows: Tensor) -> Tensor:
        """The products of some rows, shape (rows, out)."""
        rows = rows.to(self.bias.dtype)
        if self.is_laid_out:
            return _onednn(rows, self, "none", "")
        return functional.linear(rows, self.weight, self.bias)

    def gelu(self, rows: Tensor) -> Tensor:
        """The exact GELU of the products, shape (rows, out)."""
        rows = rows.to(self.bias.dtype)
        if self.is_laid_out:
            return _onednn(rows, self, "gelu", "none")
        return functional.gelu(functional.linear(rows, self.weight, self.bias))


def product(weight: Tensor, bias: Tensor, *, dtype: torch.dtype, device: str = "cpu") -> Product:
    """A layer's weights, shape (out, in), and bias, shape (out,), ready to multiply rows."""
    weight, bias = weight.to(device, dtype).contiguous(), bias.to(device, dtype)
    size = weight.nbytes + bias.nbytes
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if device != "cpu" or not has_onednn:
        return Product(weight, bias, is_laid_out=False, weight_bytes=size)
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight)
    return Product(laid_out, bias, is_laid_out=True, weight_bytes=size)


def slack(rows: int) -> int:
    """Empty rows that a product is given beside so many.

    Enough for the kernel of long products, and for few different lengths: oneDNN prepares a kernel
    for each and keeps them.
    """
    step = ROWS if rows <= 128 else 2 * ROWS if rows <= 512 else 4 * ROWS
    return -rows % step


def _onednn(rows: Tensor, weights: Product, operation: str, algorithm: str) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(
        rows, weights.weight, weights.bias, operation, [], algorithm
    )
    return found
