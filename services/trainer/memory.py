"""A run that needs more memory than there is says so, and what needs less."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import ConfigError

_SAID_SO = ("out of memory", "can't allocate memory")  # by CUDA's allocator, and by the CPU's


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn the errors of an allocation that failed into one line.

    Where the kernel ends the process instead, the worker says that it was killed.

    Raises:
        ConfigError: there was not enough memory; trying again would not help.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(one in str(error) for one in _SAID_SO):
            raise
        raise ConfigError(
            "There is not enough memory for this run: lower --batch-size (and raise "
            "gradient_accumulation to match), the longest texts or --lora-rank, switch on "
            "gradient_checkpointing, or take a smaller model."
        ) from None
