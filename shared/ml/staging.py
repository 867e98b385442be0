"""Folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shared.errors import ArtifactError


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that takes its name when the block ends without an error.

    Every file and the folders are flushed to disk before the rename. After an error nothing is
    left; after a kill only a `.tmp-` folder, which `remove_stale_stages` removes.

    Raises:
        ArtifactError: `final` exists already, or its parent cannot be written.
    """
    if final.exists():
        raise ArtifactError(f"{final} exists already; artifacts are never overwritten.")
    stage = final.with_name(f"{final.name}.tmp-{uuid4().hex[:8]}")
    try:
        stage.mkdir(parents=True)
    except OSError as error:
        raise ArtifactError(
            f"{final.parent} cannot be written ({error.strerror}); check its owner and free space."
        ) from None
    try:
        yield stage
        _flush_tree(stage)
        stage.rename(final)
        _flush(final.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def remove_stale_stages(parent: Path) -> list[Path]:
    """Remove what killed writers left in a folder; gives the removed paths."""
    stale = [path for path in parent.glob("*.tmp-*") if path.is_dir()]
    for path in stale:
        shutil.rmtree(path)
    return stale


def _flush_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
