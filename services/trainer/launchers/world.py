"""The processes that train one run together: who is who, and that nobody is missing.

Rank 0 is the main one: it alone speaks to the database and stores artifacts. It hands the task out
to the others over the process group, so they need neither the run's row nor the snapshot's file.
One process alone is a world too, in which every function here does nothing.
"""

import copyreg
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigError

Work = Callable[..., object]  # called with `progress`

_PATIENCE = timedelta(minutes=30)  # freezing a dataset, or evaluating a policy, while others wait


class Place(BaseSettings):
    """Which process this is, as torchrun and its like tell it in the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    rank: int | None = Field(None, ge=0, description="RANK; None where no launcher started this.")
    local_rank: int = Field(0, ge=0, description="LOCAL_RANK: which process of this machine.")
    world_size: int = Field(1, ge=1, description="WORLD_SIZE: how many processes there are.")

    @property
    def is_launched(self) -> bool:
        """Whether a launcher started this process."""
        return self.rank is not None


class TrainedBeside(Exception):
    """Ends a process that has done its part: the main one goes on alone."""


@cache
def place() -> Place:
    """Which process this is."""
    return Place()


def is_main() -> bool:
    """Whether this process is the one that stores, writes and reports."""
    return not place().rank


def join(expected: int) -> None:
    """Meet the other processes; returns when all are there.

    Raises:
        ConfigError: there are not as many as were asked for.
    """
    require_world(expected, found=place().world_size)
    if expected == 1:
        return
    import torch
    import torch.distributed as group

    if torch.cuda.is_available():
        torch.cuda.set_device(place().local_rank)
    if not group.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group.init_process_group(backend, timeout=_PATIENCE)
    require_world(expected, found=group.get_world_size())


def require_world(expected: int, *, found: int) -> None:
    """Refuse to train with fewer processes than were asked for, or more.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing; the run would
    take twice as long and learn from other batches.

    Raises:
        ConfigError: the numbers differ.
    """
    if found != expected:
        raise ConfigError(
            f"{expected} processes were asked for and there are {found}: start them with "
            "HEED_LAUNCHER=torchrun and HEED_LAUNCH_PROCESSES, or with torchrun itself; "
            "`accelerate launch --cpu` starts a single one."
        )


def require_joined(found: int) -> None:
    """Refuse when a trainer knows of fewer processes than there are.

    Raises:
        ConfigError: it would train them apart from one another.
    """
    require_world(place().world_size, found=found)


def hand_out(work: Work | None) -> None:
    """Let every other process do this too, or nothing; the others hear it and hand out nothing.

    What travels is pickled between processes of one run, over a network that has to be trusted.
    """
    if place().world_size > 1 and is_main():
        _broadcast([work])


def hear() -> Work | None:
    """What the main process lets the others do."""
    heard: Work | None = _broadcast([None])[0]
    return heard


def anyone(is_so: bool) -> bool:
    """Whether it is so in any of the processes; all have to ask at the same step."""
    if place().world_size == 1:
        return is_so
    import torch
    import torch.distributed as group

    found = torch.tensor(int(is_so))
    group.all_reduce(found, op=group.ReduceOp.MAX)
    return bool(found)


def average(tensors: Iterable[Any]) -> None:
    """Set tensors, such as gradients, to their mean over the processes, in place."""
    if place().world_size == 1:
        return
    import torch.distributed as group

    for tensor in tensors:
        group.all_reduce(tensor)
        tensor /= place().world_size


def gathered(value: object) -> list[Any]:
    """What each process has, by rank, in every process."""
    if place().world_size == 1:
        return [value]
    import torch.distributed as group

    found: list[Any] = [None] * place().world_size
    group.all_gather_object(found, value)
    return found


@contextmanager
def main_first() -> Iterator[None]:
    """What the main process does before the others do it, such as writing a file they then find."""
    if not is_main():
        _wait()
    yield
    if is_main():
        _wait()


def leave_the_rest_to_main() -> None:
    """Called where training ends and storing begins: only the main process comes back from it.

    Raises:
        TrainedBeside: in every other process.
    """
    if place().world_size == 1:
        return
    import torch.distributed as group

    _wait()
    group.destroy_process_group()
    if not is_main():
        raise TrainedBeside


def _read_only(content: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(content)


# Datasets hold read-only mappings, which do not travel by themselves.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


def _wait() -> None:
    """Until every process is here; a reduction of one number works on any backend."""
    anyone(False)


def _broadcast(content: list[Any]) -> list[Any]:
    import torch
    import torch.distributed as group

    group.broadcast_object_list(content, src=0, device=torch.device("cpu"))
    return content
