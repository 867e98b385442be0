"""Which arithmetic a model runs in on this machine, and how far it may be from what was fitted.

| choice | means |
|---|---|
| `fitted` | what the model was fitted on; trainer, gates and evaluation use it |
| `auto` | bf16 where the hardware multiplies it, else `fitted` |
| `fp32` | the reference, on the CPU |
| `bf16` | half the bits, on a GPU where there is one that has it, else on the CPU |
| `int8` | a quarter of them, for models that were fitted on its numbers (`shared.ml.quantised`) |
"""

from dataclasses import dataclass

import torch

from shared.contracts.scoring import EngineChoice


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which precision the matrix products of a model run.

    Attributes:
        name: its part of an engine's name.
        dtype: precision of the products; sums of layers and norms stay in fp32.
        device: torch's name of the device.
        batch_tokens: tokens that are multiplied at once, about.
    """

    name: str
    dtype: torch.dtype
    device: str
    batch_tokens: int


FP32 = Arithmetic("fp32", torch.float32, "cpu", 1024)  # larger batches leave the cache
BF16 = Arithmetic("bf16", torch.bfloat16, "cpu", 1024)
INT8 = Arithmetic("int8", torch.float32, "cpu", 1024)  # what is not a product is in fp32
CUDA_BF16 = Arithmetic("cuda-bf16", torch.bfloat16, "cuda", 16_384)


def arithmetic_for(choice: EngineChoice) -> Arithmetic:
    """What a choice means on this machine for a model that was fitted in fp32."""
    wants_bf16 = choice in ("auto", "bf16")
    if wants_bf16 and has_bf16_gpu():
        return CUDA_BF16
    if choice == "bf16" or (choice == "auto" and has_bf16_cpu()):
        return BF16
    return FP32


def has_bf16_gpu() -> bool:
    """Whether there is a GPU that multiplies bf16 itself; older ones only act as if they did."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def has_bf16_cpu() -> bool:
    """Whether the processor multiplies bf16 itself; without that it is slower than fp32."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
