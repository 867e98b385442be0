"""On what a transformer runs, in which precision, and which windows it reads at once.

Legend: u windows of one batch, T tokens of the longest of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared.contracts.scoring import EngineChoice
from shared.ml.engines import has_bf16_gpu
from shared.ml.pooled import last_layers
from shared.ml.windows import PairWindow

Batch = dict[str, Tensor]

_NO_ID = -1


@dataclass(frozen=True)
class TransformerEngine:
    """Where and how the weights are multiplied.

    Attributes:
        name: as manifests, metrics and logs call it.
        device: torch's name of the device.
        dtype: precision of all layers but the last one, which stays in fp32: a reward of 5 in bf16
            would only be known to 1/32.
        batch_tokens: most tokens of one batch, padding included; 0 reads one window at a time.
    """

    name: str
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    batch_tokens: int = 0

    def batches(
        self, windows: Sequence[PairWindow], *, pad: int | None
    ) -> Iterator[tuple[list[int], Batch]]:
        """Windows of about one length, padded on the right, with their places in `windows`.

        One window at a time is what makes a reward on a CPU the same in every batch, to the last
        bit; padding costs more there than it saves. Without a padding token (`pad` is None) only
        windows of one length are read together.
        """
        for places in self._groups(windows, is_padded=pad is not None):
            yield places, self._batch([windows[at] for at in places], pad or 0)

    def _groups(self, windows: Sequence[PairWindow], *, is_padded: bool) -> Iterator[list[int]]:
        sizes = [len(window.ids) for window in windows]
        found: list[int] = []
        for at in sorted(range(len(windows)), key=lambda place: (-sizes[place], place)):
            longest = sizes[found[0]] if found else 0
            fits = (len(found) + 1) * longest <= self.batch_tokens
            if found and not (fits and (is_padded or sizes[at] == longest)):
                yield found
                found = []
            found.append(at)
        if found:
            yield found

    def _batch(self, windows: Sequence[PairWindow], pad: int) -> Batch:
        """`input_ids`, `attention_mask` and, where windows have them, `token_type_ids`: (u, T)."""
        longest = max(len(window.ids) for window in windows)
        rows = {"input_ids": [_filled(window.ids, pad, longest) for window in windows]}
        rows["attention_mask"] = [_filled([1] * len(one.ids), 0, longest) for one in windows]
        types = [window.types for window in windows]
        if types[0] is not None:
            rows["token_type_ids"] = [_filled(one or [], 0, longest) for one in types]
        return {name: torch.tensor(row, device=self.device) for name, row in rows.items()}


REFERENCE = TransformerEngine("transformers-fp32")
CUDA_BF16 = TransformerEngine(
    "transformers-cuda-bf16", device="cuda", dtype=torch.bfloat16, batch_tokens=16_384
)


def engine_for(asked: EngineChoice) -> TransformerEngine:
    """The engine for `fitted`, `auto`, `fp32` or `bf16`.

    `auto` and `bf16` are bf16 on a GPU where there is one that has it. Everything else is what
    rewards are stored from: fp32 on the CPU.
    """
    return CUDA_BF16 if asked in ("auto", "bf16") and has_bf16_gpu() else REFERENCE


def placed(model: Any, engine: TransformerEngine) -> Any:
    """The model on the engine's device, in its precision but for the last layer.

    One without a padding token would read one window at a time only; it learns that no id is one.
    """
    if padding_of(model) is None:
        model.config.get_text_config().pad_token_id = _NO_ID
    if engine.dtype == torch.float32:
        return model.eval().to(device=engine.device)
    last, turning = [(layer, layer.state_dict()) for layer in last_layers(model)], _turning(model)
    model = model.eval().to(device=engine.device, dtype=engine.dtype)
    for module, name, exact in turning:
        setattr(module, name, exact.to(engine.device))
    for layer, weights in last:
        layer.float().load_state_dict(weights)
        layer.register_forward_pre_hook(_in_fp32)
    return model


def _turning(model: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """How fast positions turn in rotary embeddings, by module and name.

    They are multiplied by positions: the third digit, which bf16 has no more, turns the thousandth
    token by a radian.
    """
    return [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if "inv_freq" in name
    ]


def padding_of(model: Any) -> int | None:
    """The id a classifier takes for padding, if it has one."""
    found: int | None = model.config.get_text_config().pad_token_id
    return None if found == _NO_ID else found


def _in_fp32(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(one.float() for one in inputs)


def _filled(row: Sequence[int], filler: int, size: int) -> list[int]:
    return [*row, *[filler] * (size - len(row))]
