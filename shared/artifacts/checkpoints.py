"""How the checkpoints of a training run are called, so that the newest is told by its name alone.

A name starts with the attempt that wrote it: what a process writes that lost its run stays below
whatever the next attempt writes, however late it comes.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from shared.errors import ArtifactError, RunInterrupted

_NAME = re.compile(r"^(\d{6})-(\d{9})(?:-([0-9a-f]{64}))?$")
_RUN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")


class Checkpoint(NamedTuple):
    """The place of one checkpoint among those of its run; sorts by age.

    Attributes:
        attempt: of the run, from 1.
        number: counts within the attempt, from 1.
        sha256: of its folder, where the name tells it, else empty.
    """

    attempt: int
    number: int
    sha256: str = ""

    @classmethod
    def parse(cls, name: str) -> "Checkpoint | None":
        """The checkpoint of that name; None where the name is not of one."""
        found = _NAME.match(name)
        return cls(int(found[1]), int(found[2]), found[3] or "") if found else None

    def __str__(self) -> str:
        name = f"{self.attempt:06}-{self.number:09}"
        return f"{name}-{self.sha256}" if self.sha256 else name


def parse_all(names: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints among the names, oldest first."""
    return sorted(found for name in names if (found := Checkpoint.parse(name)) is not None)


def next_after(kept: list[Checkpoint], attempt: int) -> Checkpoint:
    """The place of the next checkpoint of an attempt.

    Raises:
        RunInterrupted: a later attempt has kept one; this one lost the run.
    """
    newest = kept[-1] if kept else Checkpoint(attempt, 0)
    if newest.attempt > attempt:
        raise RunInterrupted(
            f"Attempt {newest.attempt} goes on with this run, so attempt {attempt} must not."
        )
    return Checkpoint(attempt, newest.number + 1 if newest.attempt == attempt else 1)


def run_name(run_id: object) -> str:
    """The name of the folder of a run's checkpoints.

    Raises:
        ArtifactError: the id cannot be the name of a folder.
    """
    name = str(run_id)
    if not _RUN.match(name):
        raise ArtifactError(f"{name!r} cannot be the id of a training run.")
    return name
