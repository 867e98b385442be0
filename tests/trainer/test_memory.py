"""What a run says that needs more memory than there is."""

import pytest
import torch

from services.trainer.memory import memory_explained
from shared.errors import ConfigError


def test_an_allocation_that_fails_names_what_needs_less() -> None:
    with pytest.raises(ConfigError, match="--batch-size"), memory_explained():
        torch.empty(2**60, dtype=torch.uint8)


def test_memory_that_the_gpu_lacks_is_told_alike() -> None:
    with pytest.raises(ConfigError, match="gradient_checkpointing"), memory_explained():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"), memory_explained():
        torch.zeros(2, 2) @ torch.zeros(3)
