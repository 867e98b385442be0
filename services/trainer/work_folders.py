"""The folder in which a run trains: held by one process, kept while the run may go on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.trainer.workplace import run_folder
from shared.artifacts import ArtifactStore
from shared.errors import HeedError, RunInterrupted, Unavailable

LEARNED_FROM = "learned-from"


@contextmanager
def work_folder(store: ArtifactStore, run_id: object, dataset_sha256: str) -> Iterator[Path]:
    """The run's folder, with the checkpoints of its earlier attempts on the same data.

    A process of an earlier attempt that still lives holds the folder's lock, so it is waited for:
    it ends as soon as it hears that its claim is lost. Checkpoints that learned from a dataset
    which was rewritten since, because somebody in it was erased, are removed; so is a finished
    model that no attempt came to record.
    """
    with store.workspace(run_folder(run_id), keep_after=_may_go_on_after) as folder:
        _remove_stale(folder, dataset_sha256)
        yield folder


def _may_go_on_after(error: BaseException) -> bool:
    """Whether a later attempt would begin where this one ended.

    Work that was refused is not tried again, and Ctrl-C promises to leave nothing half-written.
    """
    if isinstance(error, RunInterrupted | Unavailable):
        return True
    return isinstance(error, Exception) and not isinstance(error, HeedError)


def _remove_stale(folder: Path, dataset_sha256: str) -> None:
    marker = folder / LEARNED_FROM
    is_same = marker.is_file() and marker.read_text() == dataset_sha256
    for path in folder.iterdir():
        if not is_same or path.name == "model":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    marker.write_text(dataset_sha256)
