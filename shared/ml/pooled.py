"""What a transformer's reward is read from: the vector that reaches its last layer.

Legend: u windows of T tokens at most, h width of the last layer's input.
"""

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def last_layers(classifier: nn.Module) -> list[nn.Linear]:
    """The linear layers with one output; the one that gives the reward is among them."""
    return [
        layer
        for layer in classifier.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == 1
    ]


def rows_read(inputs: Tensor, input_ids: Tensor, pad: int | None) -> Tensor:
    """What counts of a last layer's inputs, shape (u, h).

    A decoder's last layer reads every token, of which the last one that is no padding counts.

    Args:
        inputs: shape (u, h), or (u, T, h) in a decoder.
        input_ids: shape (u, T).
        pad: the id of padding.
    """
    if inputs.ndim == 2:
        return inputs
    places = torch.arange(input_ids.shape[1], device=inputs.device)
    ends = (places * (input_ids.to(inputs.device) != pad)).argmax(dim=1)
    return inputs[torch.arange(len(inputs), device=inputs.device), ends]


class PooledVectors:
    """Keeps what the last layer was given; several threads may run the model at once."""

    def __init__(self, model: Any) -> None:
        """Listen to a classifier with a single last layer; its every run is heard from now on."""
        (layer,) = last_layers(model)
        self._pad = model.config.pad_token_id
        self._own = threading.local()
        layer.register_forward_pre_hook(self._keep)

    def of(self, input_ids: Tensor) -> NDArray[np.float32]:
        """The vectors of the windows that this thread has just run, shape (u, h)."""
        read = rows_read(self._own.inputs, input_ids, self._pad).float().cpu()
        found: NDArray[np.float32] = read.numpy()
        return found

    def _keep(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._own.inputs = inputs[0].detach()
