"""Folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from shared.errors import ArtifactError
from shared.files import flush, flush_tree


@contextmanager
def staged_folder(final: Path) -> Iterator[Path]:
    """A new folder beside `final` that takes its name when the block ends without an error.

    Every file and the folders are flushed to disk before the rename. After an error nothing is
    left; after a kill only a `.tmp-` folder, never `final`.

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
        flush_tree(stage)
        stage.rename(final)
        flush(final.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
