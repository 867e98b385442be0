"""Where datasets and models lie: a folder of content-addressed, whole, never changed artifacts.

What is stored is named by its hash, written aside, flushed to disk and renamed into place, so a
reader sees a whole artifact or none. Work in progress lies in `.partial`, checkpoints of training
runs in `.checkpoints`.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath

from shared.artifacts.checkpoints import next_after, parse_all, run_name
from shared.artifacts.hashing import digest, file_sha256, folder_sha256
from shared.artifacts.partial import (
    KeepAfter,
    held_and_removed,
    keep_never,
    remove,
    remove_unheld,
)
from shared.errors import ArtifactError, MissingArtifact
from shared.files import flush, flush_tree
from shared.folders import close_to_others, make_private
from shared.ids import new_id

SCHEME = "artifact://"
CHECKPOINTS = ".checkpoints"
_PARTIAL = ".partial"


def parts_of(uri: str) -> tuple[str, str, str]:
    """Project, kind and name of an artifact.

    Raises:
        ArtifactError: the URI is not of this store.
    """
    parts = PurePosixPath(uri.removeprefix(SCHEME)).parts
    is_hidden = any(part.startswith(".") for part in parts)
    if not uri.startswith(SCHEME) or len(parts) != 3 or is_hidden:
        raise ArtifactError(f"{uri} is not an artifact of this store; expected {SCHEME}….")
    return parts[0], parts[1], parts[2]


class FolderStore:
    """The artifacts of one project below a folder; an artifact's URI outlives a move of it."""

    def __init__(
        self, root: Path, project_id: int = 1, *, setting: str = "HEED_ARTIFACT_DIR"
    ) -> None:
        self.root = root
        self.project_id = project_id
        self._setting = setting

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def is_elsewhere(self) -> bool:
        """A folder is on this machine."""
        return False

    def of_project(self, project_id: int) -> "FolderStore":
        """The same folder for another project."""
        return FolderStore(self.root, project_id, setting=self._setting)

    def put_file(self, path: Path, kind: str = "datasets") -> str:
        """Store a copy of a file; its URI ends in the hash and the file's suffix.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        name = file_sha256(path) + "".join(path.suffixes)
        with self.explained(), self.workspace() as aside:
            copy = aside / name
            shutil.copyfile(path, copy)
            return self.keep(copy, kind)

    def put_folder(self, path: Path, kind: str = "models") -> tuple[str, str]:
        """Store a copy of a folder; its URI and its hash.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        sha256 = folder_sha256(path)
        with self.explained(), self.workspace() as aside:
            copy = aside / sha256
            shutil.copytree(path, copy, copy_function=shutil.copyfile)
            return self.keep(copy, kind), sha256

    def path(self, uri: str) -> Path:
        """Where the artifact lies on this machine.

        Raises:
            MissingArtifact: nothing lies there.
            ArtifactError: the URI is not of this store.
        """
        place = self.root.joinpath(*parts_of(uri))
        if not place.exists():
            raise MissingArtifact(
                f"{uri} is not in {self.root}; check {self._setting} or restore a backup."
            )
        return place

    def holds(self, uri: str) -> bool:
        """Whether the artifact lies here."""
        return self.root.joinpath(*parts_of(uri)).exists()

    def remove(self, uri: str) -> None:
        """Delete an artifact, so that nothing of it is left; one that is gone already is fine.

        Raises:
            ArtifactError: the URI is not of this store, or its folder cannot be written.
        """
        place = self.root.joinpath(*parts_of(uri))
        self._remove(place)

    def snapshots(self) -> list[str]:
        """The URIs of all snapshots that lie here, entered in a database or not."""
        folder = self.root / str(self.project_id) / "datasets"
        return [
            f"{SCHEME}{self.project_id}/datasets/{path.name}" for path in folder.glob("*.jsonl")
        ]

    def workspace(
        self, name: str | None = None, *, keep_after: KeepAfter = keep_never
    ) -> AbstractContextManager[Path]:
        """A folder for work in progress, locked while in use and removed afterwards.

        One that is named stays after an error of which `keep_after` says so, for whoever goes on.
        """
        return held_and_removed(self.root / _PARTIAL / (name or new_id().hex), keep_after)

    def remove_partial(
        self, keep: Collection[str] = (), *, only: Collection[str] | None = None
    ) -> list[str]:
        """Clear away what dead processes left half-written; the names of the folders removed.

        Folders named in `keep` stay, such as those of runs that will go on from a checkpoint; with
        `only`, all others stay too.
        """

        def is_left(folder: Path) -> bool:
            return folder.name not in keep and (only is None or folder.name in only)

        return remove_unheld(self.root / _PARTIAL, is_left)

    def keep_checkpoint(self, run_id: object, attempt: int, folder: Path) -> None:
        """Store a copy of a folder as a run's newest checkpoint; the older ones go.

        Raises:
            RunInterrupted: a later attempt of the run has kept a checkpoint.
            ArtifactError: the store's folder cannot be written.
        """
        place = self.root / CHECKPOINTS / run_name(run_id)
        with self.explained(), self.workspace() as aside:
            kept = parse_all(path.name for path in place.glob("*"))
            checkpoint = next_after(kept, attempt)
            copy = aside / str(checkpoint)
            shutil.copytree(folder, copy, copy_function=shutil.copyfile)
            self.keep_at(copy, place / copy.name)
            for old in kept:
                remove(place / str(old))

    def newest_checkpoint(self, run_id: object) -> Path | None:
        """A run's newest checkpoint, to read only; None if it has none."""
        place = self.root / CHECKPOINTS / run_name(run_id)
        kept = parse_all(path.name for path in place.glob("*"))
        return place / str(kept[-1]) if kept else None

    def remove_checkpoints(self, run_id: object) -> None:
        """Delete what a run kept, so that nothing of it is left.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        self._remove(self.root / CHECKPOINTS / run_name(run_id))

    def runs_with_checkpoints(self) -> list[str]:
        """The ids of the runs that have checkpoints, of all projects."""
        return sorted(path.name for path in (self.root / CHECKPOINTS).glob("*"))

    def forget_removed(self) -> None:
        """Nothing: there is no other copy than the one in the folder."""

    def is_tidying_due(self) -> bool:
        """Always: to look costs nothing."""
        return True

    def check(self) -> list[str]:
        """Try to write; there is nothing else to remark.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        with self.explained(), self.workspace() as aside:
            (aside / "probe").touch()
        return []

    def keep(self, copy: Path, kind: str) -> str:
        """Move what lies aside, named by its content, to where it belongs; its URI."""
        self.keep_at(copy, self.root / str(self.project_id) / kind / copy.name)
        return f"{SCHEME}{self.project_id}/{kind}/{copy.name}"

    def keep_at(self, copy: Path, place: Path) -> None:
        """Move what lies aside to a place in this folder, where it is seen whole or not at all."""
        make_private(place.parent)
        close_to_others(copy)
        flush_tree(copy)
        if place.exists() and digest(place) != digest(copy):
            remove(place)  # a damaged copy must not stand in for the whole one
        if not place.exists():
            _rename_unless_stored(copy, place)
            flush(place.parent)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the disk refuses into an ArtifactError that says what to do."""
        try:
            yield
        except OSError as error:
            raise ArtifactError(
                f"Cannot store in {self.root}: {error.strerror}. Make the folder writable, free "
                f"some space, or set {self._setting}."
            ) from error

    def _remove(self, place: Path) -> None:
        with self.explained():
            if place.exists():
                remove(place)
                flush(place.parent)


def _rename_unless_stored(copy: Path, place: Path) -> None:
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():  # else another process stored the same content first
            raise
