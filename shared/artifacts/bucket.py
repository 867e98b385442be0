"""Where datasets and models lie when several machines share them: a bucket that speaks S3.

Each machine keeps copies of what it has used in a folder, so a model that was loaded once is there
within moments, and without the bucket. A copy is found by name alone; what is not there is fetched
aside, verified against its name and renamed into place, by one process while the others wait.
"""

import hashlib
import shutil
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from shared.artifacts import transfer
from shared.artifacts.checkpoints import Checkpoint, next_after, parse_all, run_name
from shared.artifacts.eviction import find_and_mark, make_room
from shared.artifacts.folder import CHECKPOINTS, SCHEME, FolderStore, parts_of
from shared.artifacts.hashing import file_sha256, list_folder, list_text
from shared.artifacts.objects import Bucket
from shared.artifacts.partial import KeepAfter, held, keep_never, remove, remove_unheld
from shared.errors import ArtifactError, MissingArtifact
from shared.folders import make_private
from shared.ids import new_id

_FETCHING = ".fetching"
_CHECKPOINTS = "checkpoints"
_ABANDONED_S = 24 * 3600.0
_TIDY_EVERY_S = 300.0
_TIDIED = ".tidied"
_QUICK_S = 2.0
_PROBE = b"Heed was here."


class BucketStore:
    """The artifacts of one project in a bucket, with copies in a folder of this machine."""

    def __init__(self, bucket: Bucket, copies: FolderStore, *, most_bytes: int = 0) -> None:
        self.bucket = bucket
        self._copies = copies
        self._most_bytes = most_bytes
        # Whoever tidies does not wait for a bucket that is away.
        self._quick = Bucket(replace(bucket.address, patience_s=_QUICK_S))

    @property
    def root(self) -> Path:
        """The folder of copies and of work in progress."""
        return self._copies.root

    @property
    def project_id(self) -> int:
        """Whose artifacts these are."""
        return self._copies.project_id

    @property
    def place(self) -> str:
        """The bucket's address."""
        return self.bucket.address.url

    @property
    def is_elsewhere(self) -> bool:
        """A bucket is reached from anywhere."""
        return True

    def of_project(self, project_id: int) -> "BucketStore":
        """The same bucket for another project."""
        copies = self._copies.of_project(project_id)
        return BucketStore(self.bucket, copies, most_bytes=self._most_bytes)

    def put_file(self, path: Path, kind: str = "datasets") -> str:
        """Store a copy of a file; its URI ends in the hash and the file's suffix.

        Raises:
            ArtifactError: the folder of copies cannot be written.
            StoreUnavailable: the bucket cannot be reached.
            ConfigError: the bucket does not let us in.
        """
        with self._copies.explained(), self.workspace() as aside:
            copy = aside / "copy"
            shutil.copyfile(path, copy)
            sha256 = file_sha256(copy)
            copy = copy.rename(aside / (sha256 + "".join(path.suffixes)))
            transfer.send_file(self.bucket, self._key(kind, copy.name), copy, sha256)
            return self._keep(copy, kind)

    def put_folder(self, path: Path, kind: str = "models") -> tuple[str, str]:
        """Store a copy of a folder; its URI and its hash.

        What an earlier attempt has stored is not sent again; nobody sees the folder before all of
        it is there.

        Raises:
            ArtifactError: the folder of copies cannot be written.
            StoreUnavailable: the bucket cannot be reached.
            ConfigError: the bucket does not let us in.
        """
        with self._copies.explained(), self.workspace() as aside:
            copy = aside / "copy"
            shutil.copytree(path, copy, copy_function=shutil.copyfile)
            files = list_folder(copy)
            sha256 = hashlib.sha256(list_text(files)).hexdigest()
            copy = copy.rename(aside / sha256)
            transfer.send_folder(self.bucket, self._key(kind, sha256), copy, files)
            return self._keep(copy, kind), sha256

    def path(self, uri: str) -> Path:
        """Where the artifact lies on this machine, fetched and verified if it did not yet.

        A copy that is here is found without the bucket.

        Raises:
            MissingArtifact: the bucket has no such artifact.
            ArtifactError: the URI is not of this store, or what is stored was damaged.
            StoreUnavailable: it is not here, and the bucket cannot be reached.
        """
        parts = parts_of(uri)
        return self._fetched("/".join(parts), parts[2][:64], self.root.joinpath(*parts))

    def holds(self, uri: str) -> bool:
        """Whether the artifact is in the bucket."""
        key = "/".join(parts_of(uri))
        sizes = (self.bucket.size(one) for one in (f"{key}/{transfer.LIST}", key))
        return any(size is not None for size in sizes)

    def remove(self, uri: str) -> None:
        """Delete an artifact from the bucket and from here; one that is gone already is fine.

        Raises:
            ArtifactError: the URI is not of this store, or the folder of copies cannot be written.
            StoreUnavailable: the bucket cannot be reached.
        """
        key = "/".join(parts_of(uri))
        with self._copies.explained(), held(self._fetching(key)) as aside:
            transfer.delete(self.bucket, key)
            self._copies.remove(uri)
            remove(aside)

    def snapshots(self) -> list[str]:
        """The URIs of all snapshots in the bucket, entered in a database or not."""
        names = self.bucket.sizes(f"{self.project_id}/datasets")
        return [
            f"{SCHEME}{self.project_id}/datasets/{name}"
            for name in sorted(names)
            if name.endswith(".jsonl")
        ]

    def workspace(
        self, name: str | None = None, *, keep_after: KeepAfter = keep_never
    ) -> AbstractContextManager[Path]:
        """A folder on this machine for work in progress, locked while in use, removed afterwards.

        One that is named stays after an error of which `keep_after` says so, for whoever goes on.
        """
        return self._copies.workspace(name, keep_after=keep_after)

    def remove_partial(
        self, keep: Collection[str] = (), *, only: Collection[str] | None = None
    ) -> list[str]:
        """Clear away what dead processes left half-written here; the names of the folders removed.

        Folders named in `keep` stay, such as those of runs that will go on from a checkpoint; with
        `only`, all others stay too.
        """
        return self._copies.remove_partial(keep, only=only)

    def keep_checkpoint(self, run_id: object, attempt: int, folder: Path) -> None:
        """Store a folder as a run's newest checkpoint; the older ones go.

        Raises:
            RunInterrupted: a later attempt of the run has kept a checkpoint.
            StoreUnavailable: the bucket cannot be reached.
        """
        began, whole = self._checkpoints(run_id)
        files = list_folder(folder)
        sha256 = hashlib.sha256(list_text(files)).hexdigest()
        checkpoint = next_after(whole, attempt)._replace(sha256=sha256)
        transfer.send_folder(self.bucket, _checkpoint_key(run_id, checkpoint), folder, files)
        for old in began:
            if old < checkpoint:
                transfer.delete(self.bucket, _checkpoint_key(run_id, old))

    def newest_checkpoint(self, run_id: object) -> Path | None:
        """A run's newest checkpoint, fetched and verified, to read only; None if it has none.

        Raises:
            ArtifactError: what is stored was damaged.
            StoreUnavailable: the bucket cannot be reached.
        """
        while kept := self._checkpoints(run_id)[1]:
            key = _checkpoint_key(run_id, kept[-1])
            place = self.root / CHECKPOINTS / run_name(run_id) / str(kept[-1])
            try:
                return self._fetched(key, kept[-1].sha256, place)
            except MissingArtifact:
                if self.bucket.size(f"{key}/{transfer.LIST}") is not None:
                    raise  # it did not go because there is a newer one
        return None

    def remove_checkpoints(self, run_id: object) -> None:
        """Delete what a run kept, in the bucket and here.

        Raises:
            ArtifactError: the folder of copies cannot be written.
            StoreUnavailable: the bucket cannot be reached.
        """
        folder = f"{_CHECKPOINTS}/{run_name(run_id)}"
        paths = self.bucket.sizes(folder)
        for path in sorted(paths, key=lambda path: not path.endswith(f"/{transfer.LIST}")):
            self.bucket.delete(f"{folder}/{path}")
        self._copies.remove_checkpoints(run_id)

    def runs_with_checkpoints(self) -> list[str]:
        """The ids of the runs that have checkpoints, of all projects."""
        return self._quick.folders(_CHECKPOINTS)

    def forget_removed(self) -> None:
        """Drop copies of datasets and checkpoints that are no longer in the bucket.

        Another machine deleted them there, because somebody in them was erased. Copies are listed
        first, so one that is being stored meanwhile is not taken for deleted.

        Raises:
            StoreUnavailable: the bucket cannot be reached.
        """
        make_private(self.root)
        (self.root / _TIDIED).touch(mode=0o600)
        here = [*self.root.glob("[0-9]*/datasets/*"), *self.root.glob(f"{CHECKPOINTS}/*/*")]
        copies = {
            place.relative_to(self.root).as_posix().removeprefix("."): place for place in here
        }
        fetching = {path.name.replace("+", "/"): path for path in (self.root / _FETCHING).glob("*")}
        stored = self._stored({*copies, *fetching})
        for key in copies.keys() - stored:
            remove(copies[key])
        gone = {fetching[key] for key in fetching.keys() - stored}
        remove_unheld(self.root / _FETCHING, lambda path: path in gone or _is_abandoned(path))

    def is_tidying_due(self) -> bool:
        """Every five minutes on this machine, since to look costs requests."""
        with suppress(FileNotFoundError):
            return time.time() - (self.root / _TIDIED).stat().st_mtime >= _TIDY_EVERY_S
        return True

    def check(self) -> list[str]:
        """Try to write, read and delete; remarks on what is not as it should be.

        Raises:
            ArtifactError: the folder of copies cannot be written, or the bucket loses what it gets.
            StoreUnavailable: the bucket cannot be reached.
            ConfigError: the bucket does not let us in.
        """
        self._copies.check()
        key = f"probes/{new_id().hex}"
        version = self.bucket.put(key, _PROBE)
        read, listed = self.bucket.read(key), self.bucket.sizes("probes")
        self.bucket.delete(key)
        if read != _PROBE or key.rpartition("/")[2] not in listed:
            raise ArtifactError(f"{self.place} does not give back what was stored in it.")
        if version is None:
            return []
        return ["it keeps old versions of objects, so erased texts stay until those expire"]

    def _fetched(self, key: str, sha256: str, place: Path) -> Path:
        if find_and_mark(self.root, place):
            return place
        with self._copies.explained(), held(self._fetching(key)) as aside:
            if not find_and_mark(self.root, place):
                self._fetch(key, sha256, aside, place)
            remove(aside)
        make_room(self.root, self._most_bytes)
        return place

    def _fetch(self, key: str, sha256: str, aside: Path, place: Path) -> None:
        try:
            fetched = transfer.fetch(self.bucket, key, sha256, aside)
        except MissingArtifact:
            remove(aside)
            raise
        self._copies.keep_at(fetched, place)
        find_and_mark(self.root, place)

    def _keep(self, copy: Path, kind: str) -> str:
        uri = self._copies.keep(copy, kind)
        find_and_mark(self.root, self.root.joinpath(*parts_of(uri)))
        make_room(self.root, self._most_bytes)
        return uri

    def _key(self, kind: str, name: str) -> str:
        return f"{self.project_id}/{kind}/{name}"

    def _fetching(self, key: str) -> Path:
        return self.root / _FETCHING / key.replace("/", "+")

    def _stored(self, keys: set[str]) -> set[str]:
        """Those of the keys under which a file, or a whole folder, is in the bucket."""
        folders = {PurePosixPath(key).parent.as_posix() for key in keys}
        there = {f"{folder}/{path}" for folder in folders for path in self._quick.sizes(folder)}
        return {key for key in keys if key in there or f"{key}/{transfer.LIST}" in there}

    def _checkpoints(self, run_id: object) -> tuple[list[Checkpoint], list[Checkpoint]]:
        """The checkpoints of a run that were begun, and those that are whole; oldest first."""
        names = self.bucket.sizes(f"{_CHECKPOINTS}/{run_name(run_id)}")
        paths = [PurePosixPath(name) for name in names]
        whole = {path.parts[0] for path in paths if path.parts[1:] == (transfer.LIST,)}
        return parse_all({path.parts[0] for path in paths}), parse_all(whole)


def _checkpoint_key(run_id: object, checkpoint: Checkpoint) -> str:
    return f"{_CHECKPOINTS}/{run_name(run_id)}/{checkpoint}"


def _is_abandoned(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime > _ABANDONED_S
    return False
