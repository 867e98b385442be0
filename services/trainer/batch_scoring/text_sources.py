"""JSON Lines, CSV and TSV as chunks; any line may be damaged, and keeps its text."""

import csv
import json
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO

from services.trainer.batch_scoring.rows import (
    CHUNK_BYTES,
    CHUNK_ROWS,
    START,
    Chunk,
    Mark,
    Row,
    Span,
)
from shared.contracts.storable import is_unicode
from shared.errors import InvalidInput

STANDARD_INPUT = Path("-")

_BOM = b"\xef\xbb\xbf"
_LONGEST_FIELD = 10_000_000
_NOT_UTF8 = "not UTF-8; save the file in that encoding"


class _Lines:
    """The lines of a file from a mark on, and how far they were taken."""

    def __init__(self, file: IO[bytes], share: Callable[[], float], start: Mark) -> None:
        self._file = file
        self.share = share
        self.mark = start
        self.taken: list[bytes] = []
        if start.place:
            file.seek(start.place)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise StopIteration
        is_first = self.mark == START
        self.mark = Mark(self.mark.place + len(line), self.mark.number + 1)
        line = line.removeprefix(_BOM) if is_first else line
        self.taken.append(line)
        return line

    def take(self) -> bytes:
        """All that was read since it was asked last."""
        taken = b"".join(self.taken)
        self.taken.clear()
        return taken


class JsonLines:
    """One JSON object a line; see `Source`. Blank lines are no rows."""

    columns = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def chunks(self, start: Mark = START, only: Collection[str] | None = None) -> Iterator[Chunk]:
        """See `Source`; `only` makes no difference."""
        with _opened(self._path, start) as lines:
            yield from _in_chunks(lines, _json_rows(self._path, lines))


class CsvRows:
    """A header and rows, quoted as in RFC 4180; see `Source`. Every value is a text."""

    def __init__(self, path: Path, delimiter: str) -> None:
        """Read the header.

        Raises:
            InvalidInput: the file cannot be read, or its header does not name columns.
        """
        csv.field_size_limit(_LONGEST_FIELD)
        self._path = path
        self._delimiter = delimiter
        empty: list[str] = []
        with _opened(path, START) as lines:
            try:
                header = next(self._reader(lines), empty)
            except csv.Error:
                header = empty
            self._first = lines.mark
        if not header or not is_unicode("".join(header)) or len(set(header)) < len(header):
            raise InvalidInput(
                f"The first line of {path} does not name columns, each another one, in UTF-8: "
                "correct it."
            )
        self.columns = tuple(header)

    def chunks(self, start: Mark = START, only: Collection[str] | None = None) -> Iterator[Chunk]:
        """See `Source`; `only` makes no difference."""
        with _opened(self._path, max(start, self._first)) as lines:
            yield from _in_chunks(lines, self._rows(lines))

    def _reader(self, lines: _Lines) -> Any:
        texts = (line.decode("utf-8", "surrogateescape") for line in lines)
        return csv.reader(texts, delimiter=self._delimiter, strict=True)

    def _rows(self, lines: _Lines) -> Iterator[Row]:
        reader = self._reader(lines)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield _unread(lines, "the quotes of this line do not fit")
                continue
            if fields:
                yield self._row(lines, fields)
            else:
                lines.take()

    def _row(self, lines: _Lines, fields: list[str]) -> Row:
        if len(fields) != len(self.columns):
            compared = "more" if len(fields) > len(self.columns) else "fewer"
            return _unread(lines, f"{compared} fields than the header has columns")
        if not is_unicode("".join(fields)):
            return _unread(lines, _NOT_UTF8)
        lines.take()
        return Row(lines.mark.number, dict(zip(self.columns, fields, strict=True)))


def _json_rows(path: Path, lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if line.strip():
            row = _json_row(lines)
            if row.number == 1 and row.fault and line.lstrip().startswith(b"["):
                raise InvalidInput(
                    f"{path} holds a JSON array: write it as JSON Lines, one object a line, as "
                    "`jq -c '.[]'` does."
                )
            yield row
        else:
            lines.take()


def _json_row(lines: _Lines) -> Row:
    line = lines.taken[-1]
    try:
        text = line.decode()
        values = json.loads(text)
    except UnicodeDecodeError:
        return _unread(lines, _NOT_UTF8)
    except (ValueError, RecursionError):
        return _unread(lines, "not JSON")
    if not isinstance(values, dict):
        return _unread(lines, "not a JSON object")
    if not is_unicode("".join(values)):
        return _unread(lines, "the name of a column holds half of a surrogate pair")
    lines.take()
    return Row(lines.mark.number, values, text.strip())


def _unread(lines: _Lines, fault: str) -> Row:
    text = lines.take().decode("utf-8", "backslashreplace").rstrip("\r\n")
    return Row(lines.mark.number, text=text, fault=fault)


def _in_chunks(lines: _Lines, rows: Iterator[Row]) -> Iterator[Chunk]:
    """Rows by `CHUNK_ROWS`, fewer where they are long."""
    start = lines.mark
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == CHUNK_ROWS or lines.mark.place - start.place >= CHUNK_BYTES:
            yield Chunk(Span(start, lines.mark, len(held), lines.share()), held)
            start, held = lines.mark, []
    if held:
        yield Chunk(Span(start, lines.mark, len(held), 1.0), held)


@contextmanager
def _opened(path: Path, start: Mark) -> Iterator[_Lines]:
    if path == STANDARD_INPUT:
        yield _Lines(sys.stdin.buffer, lambda: 0.0, start)
        return
    try:
        size = max(path.stat().st_size, 1)
        with path.open("rb") as file, _unpacked(path, file) as plain:
            yield _Lines(plain, lambda: min(file.tell() / size, 1.0), start)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "damaged, or cut off"
        raise InvalidInput(f"{path} cannot be read: {why}.") from None


def _unpacked(path: Path, file: BinaryIO) -> Any:
    return GzipFile(fileobj=file) if path.suffix == ".gz" else file
