"""Checkpoints where other machines find them: a run whose machine is gone goes on elsewhere.

A folder of checkpoints lies on one machine. Where the artifacts lie in a bucket, the newest whole
checkpoint is copied there while training goes on, under the attempt that made it, and the weights
of the best evaluation with it.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.trainer.checkpoints import needed_from, newest_of_any_kind, step_of
from services.trainer.work_folders import LEARNED_FROM
from shared.artifacts import ArtifactStore
from shared.db.tables import TrainingRun
from shared.errors import ArtifactError, HeedError, RunInterrupted
from shared.logs import get_logger

_LOOK_S = 2.0


@contextmanager
def kept_elsewhere(store: ArtifactStore, run: TrainingRun, folder: Path) -> Iterator[None]:
    """Begin with what another machine left, and leave there what this one gets to.

    Does nothing where the store is a folder: then the work folder itself is what another attempt
    finds.
    """
    if not store.is_elsewhere:
        yield
        return
    _fetch(store, run, folder)
    copier = _Copier(store, run, folder)
    copier.start()
    try:
        yield
    finally:
        copier.finish()


def _fetch(store: ArtifactStore, run: TrainingRun, folder: Path) -> None:
    """Have the newest checkpoint of the run in its folder, unless it learned from other data.

    What lies in the folder already may be older: another machine went on in the meantime.
    """
    try:
        kept = store.newest_checkpoint(run.id)
    except ArtifactError as error:  # training again costs time; failing would cost the run
        get_logger("trainer").warning("a checkpoint cannot be fetched", error=error.detail)
        return
    marker = folder / LEARNED_FROM
    if kept is None or (kept / LEARNED_FROM).read_text() != marker.read_text():
        return
    if _steps_in(folder) >= _steps_in(kept):
        return
    with store.workspace() as aside:
        copy = aside / "copy"
        shutil.copytree(kept, copy, copy_function=shutil.copyfile)
        for path in copy.iterdir():  # a kill leaves none of them in parts
            shutil.rmtree(folder / path.name, ignore_errors=True)
            path.rename(folder / path.name)


def _steps_in(folder: Path) -> int:
    newest = newest_of_any_kind(folder)
    return 0 if newest is None else step_of(newest)


class _Copier(threading.Thread):
    """Looks for whole checkpoints and stores each new one; a store that is away is tried again."""

    def __init__(self, store: ArtifactStore, run: TrainingRun, folder: Path) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._store, self._run, self._folder = store, run, folder
        self._is_over = threading.Event()
        self._stored: Path | None = newest_of_any_kind(folder)

    def run(self) -> None:
        """Look until it is over."""
        while not self._is_over.wait(_LOOK_S):
            self._look()

    def finish(self) -> None:
        """Look a last time: a run that was asked to stop has just saved."""
        self._is_over.set()
        self.join()
        self._look()

    def _look(self) -> None:
        newest = newest_of_any_kind(self._folder)
        if newest is None or newest == self._stored:
            return
        try:
            self._keep(newest)
            self._stored = newest
        except RunInterrupted:
            self._is_over.set()  # somebody else has the run; its heart will hear of it too
        except (HeedError, OSError) as error:
            told = error.detail if isinstance(error, HeedError) else type(error).__name__
            get_logger("trainer").warning("a checkpoint is not kept", error=told)

    def _keep(self, newest: Path) -> None:
        """Store the checkpoint and what lies beside it, linked aside: training goes on."""
        with self._store.workspace() as aside:
            beside = [path for path in newest.parent.iterdir() if path.is_file()]
            for path in {self._folder / LEARNED_FROM, *beside, *needed_from(newest)}:
                to = aside / path.relative_to(self._folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, to)
            self._store.keep_checkpoint(self._run.id, self._run.attempt, aside)
