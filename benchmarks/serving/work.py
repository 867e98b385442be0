"""How much arithmetic an encoder does for a text, and how fast its matrix products can go here."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from shared.ml.backbones import default_encoder_folder

ROWS = 640  # a query of 20 tokens and ten documents of 60, special tokens included


@dataclass(frozen=True)
class Shape:
    """Layers, width and inner width of a BERT encoder."""

    layers: int
    dim: int
    wide: int

    @classmethod
    def of_default_encoder(cls) -> Self:
        """That of the encoder all artifacts of this benchmark have."""
        config = json.loads((default_encoder_folder() / "config.json").read_text())
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])

    @property
    def products(self) -> list[tuple[int, int]]:
        """Inputs and outputs of one layer's matrix products."""
        dim, wide = self.dim, self.wide
        return [(dim, 3 * dim), (dim, dim), (dim, wide), (wide, dim)]


def flop(shape: Shape, tokens: int) -> float:
    """Operations for one text, a multiplication and an addition counting as two.

    Per layer 2·n·(4·d² + 2·d·f) for the products with weights and 4·n²·d for attention.
    """
    weights = sum(inputs * outputs for inputs, outputs in shape.products)
    return shape.layers * (2.0 * tokens * weights + 4.0 * tokens * tokens * shape.dim)


def multiply(shape: Shape, engine: str) -> Callable[[], float]:
    """A function that runs a request's products on one thread and says how many operations."""
    torch.set_num_threads(1)
    run = (
        _int8
        if "int8" in engine
        else _floats(torch.bfloat16 if "bf16" in engine else torch.float32)
    )
    products = [run(inputs, outputs) for inputs, outputs in shape.products * shape.layers]
    operations = (
        2.0 * ROWS * sum(inputs * outputs for inputs, outputs in shape.products) * shape.layers
    )

    def once() -> float:
        with torch.inference_mode():
            for product in products:
                product()
        return operations

    return once


def _floats(kind: torch.dtype) -> Callable[[int, int], Callable[[], Tensor]]:
    def product(inputs: int, outputs: int) -> Callable[[], Tensor]:
        rows, weights = torch.randn(ROWS, inputs).to(kind), torch.randn(outputs, inputs).to(kind)
        return lambda: functional.linear(rows, weights)

    return product


def _int8(inputs: int, outputs: int) -> Callable[[], Tensor]:
    rows = torch.randint(-127, 127, (ROWS, inputs), dtype=torch.int8)
    weights = torch.randint(-127, 127, (inputs, outputs), dtype=torch.int8)
    return lambda: torch._int_mm(rows, weights)
