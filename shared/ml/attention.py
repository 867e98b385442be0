"""Attention of texts that lie end to end: each token looks at the tokens of its own text.

Legend: t rows of all texts and their slack, d width of a hidden state.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Spans = Sequence[tuple[int, int]]


def attend(packed: Tensor, spans: Spans, *, heads: int) -> Tensor:
    """What each row takes from the rows of its own text, shape (t, d); slack takes nothing.

    Args:
        packed: query, key and value of each row side by side, shape (t, 3 · d).
        spans: first row of each text and the row after its last; nothing lies between texts.
        heads: among which d is divided.
    """
    return (
        _one_by_one(packed, spans, heads)
        if packed.device.type == "cpu"
        else varying(packed, spans, heads)
    )


def _one_by_one(packed: Tensor, spans: Spans, heads: int) -> Tensor:
    """Text after text, so that no text's numbers depend on another's."""
    # (t, 3 · d) -> (3, heads, t, d / heads)
    split = packed.view(len(packed), 3, heads, -1).permute(1, 2, 0, 3)
    mixed = packed.new_zeros(len(packed), packed.shape[1] // 3)
    for start, end in spans:
        query, key, value = split[:, None, :, start:end]
        attended = functional.scaled_dot_product_attention(query, key, value)
        mixed[start:end] = attended[0].transpose(0, 1).reshape(end - start, -1)
    return mixed


def varying(packed: Tensor, spans: Spans, heads: int) -> Tensor:
    """All texts in one call of variable-length attention, for devices where calls are dear."""
    bounds = [0, *(end for _, end in spans)]
    offsets = torch.tensor(bounds, device=packed.device)
    rows = packed[: bounds[-1]].view(bounds[-1], 3, heads, -1)
    query, key, value = (
        torch.nested.nested_tensor_from_jagged(part.contiguous(), offsets).transpose(1, 2)
        for part in rows.unbind(dim=1)
    )
    attended = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    mixed = packed.new_zeros(len(packed), packed.shape[1] // 3)
    mixed[: bounds[-1]] = attended.contiguous().values().reshape(bounds[-1], -1)
    return mixed
