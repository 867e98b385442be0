"""What every store of artifacts can do, wherever the artifacts lie."""

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from shared.artifacts.partial import KeepAfter, keep_never


class ArtifactStore(Protocol):
    """Whole, never changed datasets and models of one project, named by their content.

    An artifact's URI outlives a move of the store. Each method may raise `StoreUnavailable` where
    the artifacts lie elsewhere and cannot be reached, and `ConfigError` where the settings are
    refused there. Reaching them takes time: call it in a thread, not on an event loop.

    Attributes:
        root: the folder on this machine for work in progress and copies.
        project_id: whose artifacts these are.
    """

    @property
    def root(self) -> Path: ...

    @property
    def project_id(self) -> int: ...

    @property
    def place(self) -> str:
        """Where the artifacts lie, for people to read."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether other machines see what lies here without sharing a folder."""

    def of_project(self, project_id: int) -> "ArtifactStore":
        """The same store for another project."""

    def put_file(self, path: Path, kind: str = "datasets") -> str:
        """Store a copy of a file; its URI ends in the hash and the file's suffix.

        Raises:
            ArtifactError: it cannot be written.
        """

    def put_folder(self, path: Path, kind: str = "models") -> tuple[str, str]:
        """Store a copy of a folder; its URI and its hash.

        Raises:
            ArtifactError: it cannot be written.
        """

    def path(self, uri: str) -> Path:
        """Where the artifact lies on this machine, fetched and verified if it did not yet.

        Raises:
            MissingArtifact: the store has no such artifact.
            ArtifactError: the URI is not of this store, or what is stored was damaged.
        """

    def holds(self, uri: str) -> bool:
        """Whether the artifact is there, without fetching it."""

    def remove(self, uri: str) -> None:
        """Delete an artifact, so that nothing of it is left; one that is gone already is fine.

        Raises:
            ArtifactError: the URI is not of this store, or it cannot be written.
        """

    def snapshots(self) -> list[str]:
        """The URIs of all snapshots that are stored, entered in a database or not."""

    def workspace(
        self, name: str | None = None, *, keep_after: KeepAfter = keep_never
    ) -> AbstractContextManager[Path]:
        """A folder for work in progress, locked while in use and removed afterwards.

        One that is named stays after an error of which `keep_after` says so, for whoever goes on.
        """

    def remove_partial(
        self, keep: Collection[str] = (), *, only: Collection[str] | None = None
    ) -> list[str]:
        """Clear away what dead processes left half-written; the names of the folders removed.

        Folders named in `keep` stay, such as those of runs that will go on from a checkpoint; with
        `only`, all others stay too.
        """

    def keep_checkpoint(self, run_id: object, attempt: int, folder: Path) -> None:
        """Store a copy of a folder as a run's newest checkpoint, whole or not at all.

        Older checkpoints of the run go. The folder must not change meanwhile.

        Raises:
            RunInterrupted: a later attempt of the run has kept a checkpoint.
            ArtifactError: it cannot be written.
        """

    def newest_checkpoint(self, run_id: object) -> Path | None:
        """A run's newest checkpoint on this machine, to read only; None if it has none.

        Raises:
            ArtifactError: what is stored was damaged.
        """

    def remove_checkpoints(self, run_id: object) -> None:
        """Delete what a run kept, so that nothing of it is left.

        Raises:
            ArtifactError: it cannot be written.
        """

    def runs_with_checkpoints(self) -> list[str]:
        """The ids of the runs that have checkpoints, of all projects."""

    def forget_removed(self) -> None:
        """Drop copies on this machine of datasets and checkpoints that were deleted elsewhere."""

    def is_tidying_due(self) -> bool:
        """Whether to look for leftovers now; where looking costs a request, now and then only."""

    def check(self) -> list[str]:
        """Try to write, read and delete; remarks on what is not as it should be.

        Raises:
            ArtifactError: it cannot be written.
        """
