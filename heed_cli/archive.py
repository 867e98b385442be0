"""The file of a backup: a tar of the database dump, the artifacts and a manifest of hashes.

The manifest comes last, so that hashes are taken while writing and a cut file is seen at once.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from shared.errors import ConfigError, InvalidInput

_MANIFEST = "manifest.json"
_FORMAT = 1
_CHUNK = 1 << 20
Facts = dict[str, Any]


class ArchiveWriter:
    """A backup being written; `finish` makes it whole."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._files: dict[str, str] = {}

    def add(self, path: Path, name: str) -> None:
        """Store a file under a relative name and remember its hash."""
        with path.open("rb") as file:
            reader = _Hashing(file)
            self._tar.addfile(_member(name, os.fstat(file.fileno()).st_size), reader)
        self._files[name] = reader.sha256

    def finish(self, facts: Facts) -> None:
        """Write the manifest: what is given and every hash."""
        manifest = {"format": _FORMAT, **facts, "files": self._files}
        encoded = json.dumps(manifest, indent=1).encode()
        self._tar.addfile(_member(_MANIFEST, len(encoded)), io.BytesIO(encoded))


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """A writer whose file appears under its name only when it is whole and on disk.

    Raises:
        ConfigError: the file cannot be written.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield ArchiveWriter(tar)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise ConfigError(f"The backup {path} cannot be written: {error.strerror}.") from None
    finally:
        aside.unlink(missing_ok=True)


def unpack(path: Path, into: Path) -> Facts:
    """Write the members of a backup below a folder, each compared with its hash; the manifest.

    Raises:
        InvalidInput: it is no backup of Heed, or not a whole one; another copy may be.
    """
    try:
        with tarfile.open(path, mode="r:") as tar:
            found = {member.name: _extract(tar, member, into) for member in tar}
        manifest: Facts = json.loads((into / _MANIFEST).read_bytes())
        found.pop(_MANIFEST)
        is_whole = manifest["format"] == _FORMAT and manifest["files"] == found
    except FileNotFoundError as error:
        raise _damaged(path, "there is no such file" if not path.exists() else "cut off") from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(path, "not readable as one") from error
    if not is_whole:
        raise _damaged(path, "its content differs from its hashes")
    return manifest


def _damaged(path: Path, why: str) -> InvalidInput:
    return InvalidInput(f"{path} is not a whole backup of Heed ({why}): use another copy.")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> str:
    name = PurePosixPath(member.name)
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or name.is_absolute() or ".." in name.parts:
        raise tarfile.TarError(member.name)
    target = into / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reader = _Hashing(source)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := reader.read(_CHUNK):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return reader.sha256


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


class _Hashing(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data
