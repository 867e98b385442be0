"""The scored file: written aside in its format, under its name once it is whole."""

import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import GzipFile
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

from services.trainer.batch_scoring.formats import DELIMITERS, STANDARD_STREAM, Format
from services.trainer.batch_scoring.parquet_writing import ParquetWriter, kinds_of
from services.trainer.batch_scoring.rows import Chunk, Source
from services.trainer.batch_scoring.running import Scored, Tell
from services.trainer.batch_scoring.scored import ERROR, Asked, Results
from services.trainer.batch_scoring.writing import CsvWriter, JsonWriter
from shared.errors import InvalidInput
from shared.files import flush

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
        like: the file whose texts go there, and whose permissions hold there, too.
    """

    path: Path
    format: Format
    asked: Asked
    aspects: tuple[str, ...] = ()
    like: Path = STANDARD_STREAM


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


@contextmanager
def _writer(output: Output, source: Source) -> Iterator[Writer]:
    if output.path == STANDARD_STREAM:
        yield JsonWriter(sys.stdout.buffer, output.asked)
        sys.stdout.buffer.flush()
        return
    aside = output.path.with_name(f".{output.path.name}.new")
    try:
        aside.touch(mode=0o600)
        with _open_aside(aside, output, source) as writer:
            yield writer
            writer.close()
        if output.like != STANDARD_STREAM:
            aside.chmod(stat.S_IMODE(output.like.stat().st_mode))
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
