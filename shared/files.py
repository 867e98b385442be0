"""Files that survive a power cut."""

import os
from pathlib import Path


def flush_tree(place: Path) -> None:
    """Have the disk keep a file, or a folder with all that is in it."""
    for path in (*place.rglob("*"), place):
        flush(path)


def flush(path: Path) -> None:
    """Have the disk keep one file's content, or one folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
