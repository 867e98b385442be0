"""Scores a file on the cores of this machine, and puts the scored file together."""

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import GzipFile
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

from services.trainer.batch_scoring.formats import DELIMITERS, STANDARD_STREAM, Format
from services.trainer.batch_scoring.journal import Journal
from services.trainer.batch_scoring.parquet_writing import ParquetWriter, kinds_of
from services.trainer.batch_scoring.rows import Chunk, Row, Source, Span
from services.trainer.batch_scoring.scored import ERROR, Asked, Results, read_row
from services.trainer.batch_scoring.writing import CsvWriter, JsonWriter
from shared.errors import Conflict, InvalidInput
from shared.files import flush

Score = Callable[[Sequence[Row]], Results]
Scored = tuple[Chunk, Results]
Tell = Callable[[Span], None]

_NAMED_FAULTS = 20


class Writer(Protocol):
    """Takes scored chunks in the order of the file."""

    def write(self, chunk: Chunk, results: Results) -> None:
        """Write the rows of a chunk."""

    def close(self) -> None:
        """Write what is left."""


@dataclass(frozen=True)
class Output:
    """Where scored rows go, and in which form.

    Attributes:
        path: the file, or standard output.
        format: how it is written.
        asked: what was asked, which gives the columns.
        aspects: names in the extra `aspects`.
    """

    path: Path
    format: Format
    asked: Asked
    aspects: tuple[str, ...] = ()


@dataclass
class Tally:
    """How many rows were written, how many of them have no score, and why the first ones."""

    rows: int = 0
    bad: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, chunk: Chunk, errors: Sequence[str | None]) -> None:
        """Count the rows of a chunk."""
        both = zip(chunk.rows, errors, strict=True)
        found = [(row.number, error) for row, error in both if error is not None]
        self.rows += len(chunk.rows)
        self.bad += len(found)
        self.faults += found[: _NAMED_FAULTS - len(self.faults)]


def score_in_threads(chunks: Iterable[Chunk], score: Score, *, workers: int) -> Iterator[Scored]:
    """Scored chunks in their order; `workers` of them are scored at once, as many wait."""
    waiting: deque[tuple[Chunk, Future[Results]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="scoring")
    try:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(score, chunk.rows)))
            if len(waiting) > 2 * workers:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[tuple[Chunk, Future[Results]]]) -> Scored:
    chunk, future = waiting.popleft()
    return chunk, future.result()


def strictly(chunks: Iterable[Chunk], asked: Asked) -> Iterator[Chunk]:
    """The same chunks, as long as every row can be scored.

    Raises:
        InvalidInput: one cannot.
    """
    for chunk in chunks:
        for row in chunk.rows:
            _, error = read_row(row, asked)
            if error is not None:
                raise InvalidInput(f"Row {row.number}: {error}. Without --strict it is kept.")
        yield chunk


def write_scored(
    output: Output, source: Source, scored: Iterable[Scored], tell: Tell = lambda _: None
) -> Tally:
    """Write scored chunks as they come: a file appears when it is whole, or not at all.

    Raises:
        InvalidInput: the output cannot be written.
    """
    tally = Tally()
    with _writer(output, source) as writer:
        for chunk, results in scored:
            writer.write(chunk, results)
            tally.add(chunk, results[f"{output.asked.prefix}{ERROR}"])
            tell(chunk.span)
    return tally


class Pinned:
    """A file that must stay as it is while it is scored."""

    def __init__(self, path: Path) -> None:
        """Read it once for its hash.

        Raises:
            InvalidInput: it cannot be read.
        """
        self._path = path
        self._before = _state(path)
        self.sha256 = _sha256(path)

    def check(self) -> None:
        """Pass only if nobody has written the file since.

        Raises:
            Conflict: somebody has.
        """
        if _state(self._path) != self._before:
            raise Conflict(
                f"{self._path} was changed while it was scored: score it anew with --restart."
            )


def write_from_journal(
    output: Output, source: Source, journal: Journal, pinned: Pinned, tell: Tell
) -> Tally:
    """Put rows and results together, and forget the journal.

    Raises:
        InvalidInput: the output cannot be written.
        Conflict: the file was changed since its rows were scored.
    """

    def scored() -> Iterator[Scored]:
        yield from zip(source.chunks(), journal.results(), strict=False)
        pinned.check()

    tally = write_scored(output, source, scored(), tell)
    journal.remove()
    return tally


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{path} cannot be read ({error.strerror}).")


@contextmanager
def _writer(output: Output, source: Source) -> Iterator[Writer]:
    if output.path == STANDARD_STREAM:
        yield JsonWriter(sys.stdout.buffer, output.asked)
        sys.stdout.buffer.flush()
        return
    aside = output.path.with_name(f".{output.path.name}.new")
    try:
        with _open_aside(aside, output, source) as writer:
            yield writer
            writer.close()
        flush(aside)
        aside.replace(output.path)
        flush(output.path.parent)
    except OSError as error:
        raise InvalidInput(
            f"{output.path} cannot be written ({error.strerror}): name another --output."
        ) from None
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _open_aside(aside: Path, output: Output, source: Source) -> Iterator[Writer]:
    asked = output.asked
    if output.format == "parquet":
        yield ParquetWriter(aside, source, asked, aspects=output.aspects)
        return
    with aside.open("wb") as file, _packed(output.path, file) as plain:
        if output.format == "jsonl":
            yield JsonWriter(plain, asked)
            return
        columns = list(kinds_of(source, asked))
        with TextIOWrapper(plain, encoding="utf-8", newline="") as text:
            yield CsvWriter(text, asked, columns, DELIMITERS[output.format])


def _packed(path: Path, file: Any) -> Any:
    """The file, packed where its name says so, the same bytes at any time."""
    return GzipFile("", "wb", fileobj=file, mtime=0) if path.suffix == ".gz" else file
