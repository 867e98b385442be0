"""How much of the machine's memory models may hold, and giving back what freed ones leave."""

import ctypes
import gc
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How many models may be in memory at once, and how large their weights may be together."""

    models: int
    bytes: int = 0  # 0: no limit

    def allows(self, weights: Collection[Mapping[int, int]]) -> bool:
        """Whether these models fit, given the bytes of each one's weights by address."""
        if len(weights) > self.models:
            return False
        return not self.bytes or bytes_together(weights) <= self.bytes


def bytes_together(weights: Collection[Mapping[int, int]]) -> int:
    """What some models take together; weights that they share count once."""
    by_address = {address: size for each in weights for address, size in each.items()}
    return sum(by_address.values())


def settle() -> None:
    """End the start of a process that has looked for no garbage meanwhile.

    Libraries and the first model stay until the end: to look through them again and again would
    stop all threads for a third of a second each time.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Let the system have what freed models left: the C library keeps it for later otherwise."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)
