"""Folders for work in progress, each held by a lock of its process.

A lock that nobody holds belongs to a process that died, and its folder may be cleared away or taken
up again.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from shared.folders import make_private
from shared.logs import get_logger

KeepAfter = Callable[[BaseException], bool]


def keep_never(_: BaseException) -> bool:
    """A folder is removed whatever happened in it."""
    return False


@contextmanager
def held(place: Path) -> Iterator[Path]:
    """A folder that no other process works in meanwhile; made if need be, and never removed."""
    handle = _lock_new_folder(place)
    try:
        yield place
    finally:
        os.close(handle)


@contextmanager
def held_and_removed(place: Path, keep_after: KeepAfter) -> Iterator[Path]:
    """A folder that no other process works in meanwhile, removed afterwards.

    It stays after an error of which `keep_after` says so, for whoever goes on.
    """
    with held(place):
        is_kept = False
        try:
            yield place
        except BaseException as error:
            is_kept = keep_after(error)
            raise
        finally:
            if not is_kept:
                shutil.rmtree(place, ignore_errors=True)


def remove_unheld(folders: Path, is_old: Callable[[Path], bool]) -> list[str]:
    """Remove the old ones of the folders in a folder, but none that is held; their names.

    One that the disk does not let us remove stays, and a warning says so.
    """
    return [
        folder.name
        for folder in sorted(folders.glob("*"))
        if is_old(folder) and _remove_unlocked(folder)
    ]


def remove(place: Path) -> None:
    """Remove a file, or a folder with all that is in it; one that is gone already is fine."""
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def _lock_new_folder(place: Path) -> int:
    """Make the folder and lock it; again if a cleaner removed it in between."""
    while True:
        make_private(place)
        handle = os.open(place, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if place.exists() and place.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(handle)


def _remove_unlocked(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder)
        finally:
            os.close(handle)
    except (FileNotFoundError, BlockingIOError):  # somebody else removed it, or is at work there
        return False
    except OSError as error:
        _warn(folder, error.strerror)
        return False
    return True


@cache  # one that stays is met at every look, which may be every two seconds
def _warn(folder: Path, reason: str | None) -> None:
    get_logger("artifacts").warning("a leftover stays", folder=str(folder), reason=reason)
