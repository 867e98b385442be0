"""How many cores one thread's products and attention run on; vectors are the same on any number."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_cores(number: int) -> Iterator[None]:
    """Let what this thread computes within run on so many cores; other threads keep theirs."""
    import torch

    torch.get_num_threads()  # a thread's first product would take over what another said last
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(1)
