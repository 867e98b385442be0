"""How an artifact gets into a bucket and out of it: file by file, verified, and taken up again.

In the bucket, a file lies under its own key. A folder lies as `<key>/files/…` and, written last,
`<key>/list`: the lines `<file sha256>  <relative path>`, of which the folder's name is the hash. So
who finds the list finds a whole folder, and every byte that is fetched can be checked against the
name that was asked for.
"""

import hashlib
from pathlib import Path, PurePosixPath

from shared.artifacts.hashing import Listed, file_sha256, list_text
from shared.artifacts.objects import CHUNK_BYTES, Bucket
from shared.errors import ArtifactError, MissingArtifact
from shared.folders import make_private

LIST, FILES = "list", "files"


def send_file(bucket: Bucket, key: str, path: Path, sha256: str) -> None:
    """Store a file, unless it is there already."""
    if bucket.sha256(key) != sha256 or bucket.size(key) != path.stat().st_size:
        bucket.put(key, path, sha256)


def send_folder(bucket: Bucket, key: str, folder: Path, files: list[Listed]) -> None:
    """Store the listed files of a folder, without those that are there, and at last the list."""
    there = bucket.sizes(f"{key}/{FILES}")
    for sha256, path in files:
        place = f"{key}/{FILES}/{path}"
        is_there = there.get(path) == (folder / path).stat().st_size
        if not is_there or bucket.sha256(place) != sha256:
            bucket.put(place, folder / path, sha256)
    text = list_text(files)
    bucket.put(f"{key}/{LIST}", text, hashlib.sha256(text).hexdigest())


def fetch(bucket: Bucket, key: str, sha256: str, aside: Path) -> Path:
    """The file or folder of that hash, verified, in the folder `aside`.

    What an earlier attempt brought there is not fetched again.

    Raises:
        MissingArtifact: the bucket has no such artifact.
        ArtifactError: it was damaged.
    """
    text = bucket.read(f"{key}/{LIST}")
    target = aside / PurePosixPath(key).name
    if text is None:
        _fetch_file(bucket, key, sha256, target)
        return target
    if hashlib.sha256(text).hexdigest() != sha256:
        raise _damaged(bucket, f"{key}/{LIST}")
    make_private(target)
    for file in _parse(text):
        place = target / file.path
        make_private(place.parent)
        if not (place.exists() and file_sha256(place) == file.sha256):
            _fetch_file(bucket, f"{key}/{FILES}/{file.path}", file.sha256, place)
    return target


def delete(bucket: Bucket, key: str) -> None:
    """Remove a file or a folder: the list first, so that nobody sees half of it as whole."""
    bucket.delete(f"{key}/{LIST}")
    for path in bucket.sizes(f"{key}/{FILES}"):
        bucket.delete(f"{key}/{FILES}/{path}")
    bucket.delete(key)


def _fetch_file(bucket: Bucket, key: str, sha256: str, target: Path) -> None:
    """Go on where an earlier attempt ended; if that gives something else, begin anew once."""
    size = bucket.size(key)
    if size is None:
        raise _missing(bucket, key)
    part = target.with_name(f".{sha256[:16]}.part")
    began = part.stat().st_size if part.exists() else 0
    _append(bucket, key, size, part)
    if file_sha256(part) != sha256 and began > 0:
        part.unlink()
        _append(bucket, key, size, part)
    if file_sha256(part) != sha256:
        part.unlink()
        raise _damaged(bucket, key)
    part.rename(target)


def _append(bucket: Bucket, key: str, size: int, part: Path) -> None:
    with part.open("ab") as file:
        while file.tell() < size:
            chunk = bucket.read_range(key, file.tell(), min(CHUNK_BYTES, size - file.tell()))
            if not chunk:
                raise _missing(bucket, key)
            file.write(chunk)


def _parse(text: bytes) -> list[Listed]:
    files = [Listed(*line.split("  ", 1)) for line in text.decode().splitlines()]
    for file in files:
        if PurePosixPath(file.path).is_absolute() or ".." in PurePosixPath(file.path).parts:
            raise ArtifactError(f"A stored folder has a file outside of it: {file.path!r}.")
    return files


def _missing(bucket: Bucket, key: str) -> MissingArtifact:
    return MissingArtifact(
        f"{bucket.address.url} has no {key}; check HEED_ARTIFACT_URL, or restore the bucket."
    )


def _damaged(bucket: Bucket, key: str) -> ArtifactError:
    return ArtifactError(
        f"{key} in {bucket.address.url} is damaged: its hash is not the one it was stored with. "
        "Restore that object, or store the model or dataset again."
    )
