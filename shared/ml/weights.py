"""How much memory a loaded model's weights take, whatever engine holds them."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from shared.ml.embedding_cache import EmbeddingCache, Shelf

_NO_WEIGHTS = (str, bytes, int, float, type, ModuleType, EmbeddingCache, Shelf)


def weights_of(model: object) -> dict[int, int]:
    """Bytes of every tensor and array that a model holds, by address.

    What two models share has one address, so the union over models is what they take together. An
    engine whose weights are no tensors says their size in an attribute `weight_bytes`.
    """
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[object] = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, _NO_WEIGHTS):
            continue
        seen.add(id(part))
        if (held := _held(part)) is not None:
            found[held[0]] = held[1]
        else:
            waiting.extend(_parts(part))
    return found


def _held(part: object) -> tuple[int, int] | None:
    """Address and bytes of what is weights itself."""
    if isinstance(part, torch.Tensor):
        storage = part.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    if isinstance(part, np.ndarray):
        return part.ctypes.data, part.nbytes
    size = getattr(part, "weight_bytes", None)
    return (id(part), size) if isinstance(size, int) else None


def _parts(part: Any) -> Iterator[object]:
    if isinstance(part, Mapping):
        yield from part.values()
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    else:
        yield from getattr(part, "__dict__", {}).values()
