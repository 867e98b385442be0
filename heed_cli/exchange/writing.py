"""Writes rows as JSON Lines, a JSON array, CSV or Parquet, aside, until the file is complete.

Rows first go into JSON Lines beside the target. Only then is it known which columns there are and
what they hold, which CSV and Parquet must say at their beginning.
"""

import fcntl
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from heed_cli.exchange.columnar import common_kind, kind_of, write_csv, write_parquet
from heed_cli.exchange.posts import Json
from heed_cli.exchange.reading import DELIMITERS, file_kind
from shared.errors import InvalidInput
from shared.exports import unfinished
from shared.files import flush

_LEVEL = 6  # of gzip: 9 takes twice as long for a few per cent


class RowWriter:
    """Takes rows, and knows their columns."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path
        self._kinds: dict[str, set[str]] = {}
        self.rows = 0

    def add(self, row: Json) -> None:
        """Write one row.

        Raises:
            InvalidInput: the disk is full, or takes no more for another reason.
        """
        for name, value in row.items():
            self._kinds.setdefault(name, set()).add(kind_of(value))
        with _told_of(self._path):
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def flush(self) -> None:
        """Have every row in the file."""
        with _told_of(self._path):
            self._file.flush()

    @property
    def columns(self) -> dict[str, str]:
        """Each column and what it holds: text, bool, int, float, messages, or json."""
        return {name: common_kind(kinds) for name, kinds in self._kinds.items()}


@contextmanager
def lines_beside(path: Path) -> Iterator[tuple[RowWriter, Path]]:
    """A writer of rows for `path`, and where they lie meanwhile; removed at the end.

    Raises:
        InvalidInput: nothing can be written there, or the name says nothing of a known kind.
    """
    file_kind(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder: name a file in it.")
    aside, _ = unfinished(path)
    with _told_of(path):
        file = _open_private(aside)
    try:
        yield RowWriter(file, path), aside
    finally:
        aside.unlink(missing_ok=True)
        with suppress(OSError):  # what the disk did not take is told of already
            file.close()


def finish(lines: Path, columns: dict[str, str], path: Path) -> Path:
    """Write the rows as the target's name says, safe from a power cut, and not yet in its place.

    Returns:
        The file that only needs to be renamed.

    Raises:
        InvalidInput: the disk is full, or takes no more for another reason.
    """
    _, ready = unfinished(path)
    try:
        with _told_of(path):
            ready.touch(mode=0o600)
            _write_as(lines, columns, path, ready)
            flush(ready)
    except BaseException:
        ready.unlink(missing_ok=True)
        raise
    return ready


def _write_as(lines: Path, columns: dict[str, str], path: Path, ready: Path) -> None:
    kind = file_kind(path)
    if kind == ".parquet":
        write_parquet(lines, columns, ready)
        return
    with ready.open("wb") as raw, _packed(raw, path) as file:
        if kind in DELIMITERS:
            write_csv(lines, columns, file, DELIMITERS[kind])
        else:
            _write_json(lines, file, is_array=kind == ".json")


def _open_private(path: Path) -> IO[str]:
    path.touch(mode=0o600, exist_ok=False)
    file = path.open("w", encoding="utf-8", newline="")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Inside, what the disk refuses is said of the file that was asked for."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from None


@contextmanager
def _packed(raw: IO[bytes], path: Path) -> Iterator[IO[str]]:
    target = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) if path.suffix == ".gz" else raw
    with TextIOWrapper(target, encoding="utf-8", newline="") as text:
        yield text


def _write_json(lines: Path, file: IO[str], *, is_array: bool) -> None:
    with lines.open(encoding="utf-8") as rows:
        if not is_array:
            file.writelines(rows)
            return
        before = "[\n"
        for line in rows:
            file.write(before + line.rstrip("\n"))
            before = ",\n"
        file.write("[]\n" if before.startswith("[") else "\n]\n")
