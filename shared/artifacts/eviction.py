"""Keeps the copies of what lies in a bucket below a size; what was used longest ago goes first."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.artifacts.folder import CHECKPOINTS
from shared.artifacts.partial import held_and_removed, keep_never, remove
from shared.folders import make_private
from shared.ids import new_id

_IN_USE_S = 3600.0  # what was asked for this lately may be being read


def find_and_mark(root: Path, place: Path) -> bool:
    """Whether there is a copy; from now on it counts as used just now."""
    if not place.exists():
        return False
    with _locked(root, fcntl.LOCK_SH):
        with suppress(OSError):  # a folder of copies that is mounted read-only needs no cleaning
            os.utime(place)
        return place.exists()


def make_room(root: Path, most_bytes: int) -> list[Path]:
    """Remove copies until the rest takes no more than that; those that went.

    One that was used within the last hour stays, whatever it takes.
    """
    if most_bytes == 0:
        return []
    sizes = {place: _bytes(place) for place in _copies(root)}
    excess, gone = sum(sizes.values()) - most_bytes, []
    for place in sorted(sizes, key=_used_at):
        if excess <= 0:
            break
        if _remove_unused(root, place):
            excess -= sizes[place]
            gone.append(place)
    return gone


def _copies(root: Path) -> Iterator[Path]:
    yield from root.glob("[0-9]*/*/*")
    yield from root.glob(f"{CHECKPOINTS}/*/*")


def _remove_unused(root: Path, place: Path) -> bool:
    """Move it away while nobody can find it, then take the time that removing takes."""
    trash = root / ".partial" / new_id().hex
    with held_and_removed(trash, keep_never):
        with _locked(root, fcntl.LOCK_EX):
            if time.time() - _used_at(place) < _IN_USE_S or not place.exists():
                return False
            place.rename(trash / place.name)
        remove(trash / place.name)
    return True


@contextmanager
def _locked(root: Path, how: int) -> Iterator[None]:
    make_private(root)
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _used_at(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _bytes(place: Path) -> int:
    total = 0
    for path in (place, *place.rglob("*")):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
