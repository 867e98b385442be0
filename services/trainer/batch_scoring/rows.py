"""The pieces of a file that is scored: rows, chunks of them, and marks to go on from."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

CHUNK_ROWS = 512
CHUNK_BYTES = 4 << 20


class Mark(NamedTuple):
    """A place between two rows from which a file can be read on.

    Attributes:
        place: the byte of a text file, unpacked, or the row group of a Parquet file.
        number: lines, or rows of a Parquet file, that lie before it.
    """

    place: int
    number: int


START = Mark(0, 0)


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        number: its line, or its row in a Parquet file, from 1.
        values: its columns; none when it could not be read.
        text: how it stands in a text file, without the line's end.
        fault: why it could not be read.
    """

    number: int
    values: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    fault: str | None = None


class Span(NamedTuple):
    """Where a chunk lies, how many rows it has, and how much of the file lies before its end."""

    start: Mark
    end: Mark
    rows: int
    share: float


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows that are scored at once; the same file always falls into the same chunks.

    Attributes:
        span: where it lies.
        rows: at least one.
        batch: the same rows as an Arrow record batch, of a Parquet file.
    """

    span: Span
    rows: Sequence[Row]
    batch: Any = None


class Source(Protocol):
    """A file as chunks."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of all columns; None where every row names its own."""

    def chunks(self, start: Mark = START, only: Collection[str] | None = None) -> Iterator[Chunk]:
        """The chunks from a mark on, which is the start or the end of another chunk.

        Args:
            start: where to begin.
            only: columns that are needed; others may be left out of the rows.

        Raises:
            InvalidInput: the file cannot be read, or is not at all what its name says.
        """
