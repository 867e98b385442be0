"""Where datasets and models lie: a folder of content-addressed, whole, never changed artifacts.

What is stored is named by its hash, written aside, flushed to disk and renamed into place, so a
reader sees a whole artifact or none. Work in progress lies in `.partial`, each folder held by a
lock of its process; a lock nobody holds belongs to a process that died, and may be cleared away.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from shared.errors import ArtifactError, MissingArtifact
from shared.files import flush, flush_tree
from shared.folders import close_to_others, make_private
from shared.ids import new_id

_SCHEME = "artifact://"
_PARTIAL = ".partial"


def file_sha256(path: Path) -> str:
    """The hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """The hex SHA-256 of a folder: of its sorted lines `<file sha256>  <relative path>`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class FolderStore:
    """The artifacts of one project below a folder; an artifact's URI outlives a move of it."""

    def __init__(self, root: Path, project_id: int = 1) -> None:
        self.root = root
        self.project_id = project_id

    def put_file(self, path: Path, kind: str = "datasets") -> str:
        """Store a copy of a file; its URI ends in the hash and the file's suffix.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        name = file_sha256(path) + "".join(path.suffixes)
        with _explained(self.root), self.workspace() as aside:
            copy = aside / name
            shutil.copyfile(path, copy)
            return self._keep(copy, kind)

    def put_folder(self, path: Path, kind: str = "models") -> tuple[str, str]:
        """Store a copy of a folder; its URI and its hash.

        Raises:
            ArtifactError: the store's folder cannot be written.
        """
        sha256 = folder_sha256(path)
        with _explained(self.root), self.workspace() as aside:
            copy = aside / sha256
            shutil.copytree(path, copy, copy_function=shutil.copyfile)
            return self._keep(copy, kind), sha256

    def path(self, uri: str) -> Path:
        """Where the artifact lies on this machine.

        Raises:
            MissingArtifact: nothing lies there.
            ArtifactError: the URI is not of this store.
        """
        parts = PurePosixPath(uri.removeprefix(_SCHEME)).parts
        if not uri.startswith(_SCHEME) or len(parts) != 3 or ".." in parts:
            raise ArtifactError(f"{uri} is not an artifact of this store; expected {_SCHEME}….")
        place = self.root.joinpath(*parts)
        if not place.exists():
            raise MissingArtifact(
                f"{uri} is not in {self.root}; check HEED_ARTIFACT_DIR or restore a backup."
            )
        return place

    def remove(self, uri: str) -> None:
        """Delete an artifact, so that nothing of it is left; one that is gone already is fine.

        Raises:
            ArtifactError: the URI is not of this store, or its folder cannot be written.
        """
        with _explained(self.root):
            try:
                place = self.path(uri)
            except MissingArtifact:
                return
            _remove(place)
            flush(place.parent)

    def snapshots(self) -> list[str]:
        """The URIs of all snapshots that lie here, entered in a database or not."""
        folder = self.root / str(self.project_id) / "datasets"
        return [
            f"{_SCHEME}{self.project_id}/datasets/{path.name}" for path in folder.glob("*.jsonl")
        ]

    @contextmanager
    def workspace(
        self,
        name: str | None = None,
        *,
        keep_after: Callable[[BaseException], bool] = lambda _: False,
    ) -> Iterator[Path]:
        """A folder for work in progress, locked while in use and removed afterwards.

        One that is named stays after an error of which `keep_after` says so, for whoever goes on.
        """
        place = self.root / _PARTIAL / (name or new_id().hex)
        handle = _lock_new_folder(place)
        is_kept = False
        try:
            yield place
        except BaseException as error:
            is_kept = keep_after(error)
            raise
        finally:
            if not is_kept:
                shutil.rmtree(place, ignore_errors=True)
            os.close(handle)

    def remove_partial(
        self, keep: Collection[str] = (), *, only: Collection[str] | None = None
    ) -> list[str]:
        """Clear away what dead processes left half-written; the names of the folders removed.

        Folders named in `keep` stay, such as those of runs that will go on from a checkpoint; with
        `only`, all others stay too.
        """
        folders = sorted((self.root / _PARTIAL).glob("*"))
        return [
            folder.name
            for folder in folders
            if folder.name not in keep
            and (only is None or folder.name in only)
            and _remove_unlocked(folder)
        ]

    def _keep(self, copy: Path, kind: str) -> str:
        place = self.root / str(self.project_id) / kind / copy.name
        make_private(place.parent)
        close_to_others(copy)
        flush_tree(copy)
        if place.exists() and _digest(place) != _digest(copy):
            _remove(place)  # a damaged copy must not stand in for the whole one
        if not place.exists():
            _rename_unless_stored(copy, place)
            flush(place.parent)
        return f"{_SCHEME}{self.project_id}/{kind}/{copy.name}"


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"Cannot store in {root}: {error.strerror}. Make the folder writable, free some "
            "space, or set HEED_ARTIFACT_DIR."
        ) from error


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
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        _remove(folder)
        return True
    finally:
        os.close(handle)


def _rename_unless_stored(copy: Path, place: Path) -> None:
    try:
        copy.rename(place)
    except OSError:
        if not place.exists():  # else another process stored the same content first
            raise


def _digest(place: Path) -> str:
    return folder_sha256(place) if place.is_dir() else file_sha256(place)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
