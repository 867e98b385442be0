"""Exports that Heed keeps: files in `<data_dir>/exports`, each with the list of rows it holds.

An erasure finds the files that hold a person's rows and removes them. A file that a person wrote
elsewhere is theirs, and nobody can find it from here.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.files import flush
from shared.folders import make_private

_ROWS = ".rows.json"
_UNNAMED_ROWS, _UNNAMED_FILE = ".rows", ".ready"
_ASIDE = (".new", ".partial")  # what commands write a file as until it is whole


def exports_folder(data_dir: Path) -> Path:
    """Where exports are kept; made for its owner only."""
    folder = data_dir / "exports"
    make_private(folder)
    return folder


@contextmanager
def exports_locked(data_dir: Path) -> Iterator[None]:
    """Inside, no other process adds or removes a kept export."""
    with (exports_folder(data_dir) / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_kept(data_dir: Path, path: Path) -> bool:
    """Whether a file of this path is one that Heed keeps."""
    return path.absolute().parent == (data_dir / "exports").absolute()


def keep_export(
    data_dir: Path, path: Path, seqs: Iterable[int], interactions: Iterable[str] = ()
) -> None:
    """Write beside the file in `<data_dir>/exports` which row versions it holds.

    Args:
        data_dir: of the deployment.
        path: the export; it may be written after this.
        seqs: of the feedback and preference rows in it.
        interactions: ids of the rows of recorded interactions in it.

    Raises:
        ValueError: the file does not lie in the folder of kept exports.
    """
    if not is_kept(data_dir, path):
        raise ValueError(f"{path} is not in the folder of kept exports")
    held = {"seqs": sorted(seqs), "interactions": sorted(interactions)}
    exports_folder(data_dir)
    rows, aside = _rows_of(path), path.with_name(f".{path.name}{_ROWS}.new")
    aside.touch(mode=0o600)
    aside.write_text(json.dumps(held))
    flush(aside)
    aside.replace(rows)
    flush(rows.parent)


def keep_copy(data_dir: Path, path: Path, source: Path) -> bool:
    """Write beside a file that is made of a kept export that it holds the same rows.

    False, and nothing is written, where not both are kept, or nobody knows what is in the source.
    """
    if not (is_kept(data_dir, path) and is_kept(data_dir, source)):
        return False
    with exports_locked(data_dir):
        if not _rows_of(source).is_file():
            return False
        held = json.loads(_rows_of(source).read_text())
        keep_export(data_dir, path, held["seqs"], held["interactions"])
    return True


def exports_holding(
    data_dir: Path, seqs: Iterable[int], interactions: Iterable[str] = ()
) -> list[Path]:
    """The kept exports that hold any of these row versions or interactions, by name."""
    if not (data_dir / "exports").is_dir():
        return []
    remove_leftovers(data_dir)
    wanted, recorded = set(seqs), set(interactions)
    found = []
    with exports_locked(data_dir):
        for rows in sorted((data_dir / "exports").glob(f"*{_ROWS}")):
            held = json.loads(rows.read_text())
            if wanted.intersection(held["seqs"]) or recorded.intersection(held["interactions"]):
                found.append(rows.with_name(rows.name.removesuffix(_ROWS)))
    return found


def unfinished(path: Path) -> tuple[Path, Path]:
    """Where an export's rows lie until it is complete, and where the file does until it is named.

    The rows are locked as long as the export runs, so that what a killed one leaves is known.
    """
    stem = f".{path.name}.{os.getpid()}"
    return path.with_name(stem + _UNNAMED_ROWS), path.with_name(stem + _UNNAMED_FILE)


def remove_leftovers(data_dir: Path) -> None:
    """Delete what killed exports have left in the folder: no list says whose rows it holds."""
    for rows in exports_folder(data_dir).glob(f".*{_UNNAMED_ROWS}"):
        with suppress(FileNotFoundError, BlockingIOError), rows.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if rows.stat().st_size > 0:  # an empty one is about to be locked
                rows.with_suffix(_UNNAMED_FILE).unlink(missing_ok=True)
                rows.unlink()


def remove_export(path: Path) -> None:
    """Delete a kept export with its list of rows; what is gone already is fine.

    What a killed command has left of it goes, too.
    """
    path.unlink(missing_ok=True)
    for ending in _ASIDE:
        path.with_name(f".{path.name}{ending}").unlink(missing_ok=True)
    _rows_of(path).unlink(missing_ok=True)
    if path.parent.is_dir():
        flush(path.parent)


def _rows_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{_ROWS}")
