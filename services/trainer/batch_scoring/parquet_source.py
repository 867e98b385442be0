"""Parquet files as chunks, row group by row group, so that one larger than memory can be read."""

from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from services.trainer.batch_scoring.rows import CHUNK_ROWS, START, Chunk, Mark, Row, Span
from shared.errors import InvalidInput

_BUFFER_BYTES = 1 << 20


class ParquetRows:
    """The rows of a Parquet file; see `Source`."""

    def __init__(self, path: Path) -> None:
        """Read what the file says of itself.

        Raises:
            InvalidInput: it is no Parquet file, or two of its columns have one name.
        """
        self._path = path
        with _opened(path) as file:
            self.schema = file.schema_arrow
            sizes = [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)]
        self.columns = tuple(self.schema.names)
        if len(set(self.columns)) < len(self.columns):
            raise InvalidInput(f"Two columns of {path} have the same name: name one otherwise.")
        self._ends = list(accumulate(sizes))

    def chunks(self, start: Mark = START, only: Collection[str] | None = None) -> Iterator[Chunk]:
        """See `Source`; each row has the columns of `only`."""
        from pyarrow import ArrowException

        columns = None if only is None else [name for name in self.columns if name in only]
        try:
            with _opened(self._path) as file:
                for group in range(start.place, len(self._ends)):
                    yield from self._group(file, group, start.number, columns)
        except (ArrowException, OSError) as error:
            raise InvalidInput(
                f"{self._path} is damaged ({type(error).__name__}): write it again."
            ) from None

    def _group(
        self, file: Any, group: int, skipped: int, columns: list[str] | None
    ) -> Iterator[Chunk]:
        """The chunks of one row group that end behind the first `skipped` rows of the file."""
        number = self._ends[group - 1] if group else 0
        for batch in file.iter_batches(CHUNK_ROWS, row_groups=[group], columns=columns):
            begin, number = number, number + batch.num_rows
            if number > skipped and batch.num_rows:
                is_last = number == self._ends[group]
                end = Mark(group + 1 if is_last else group, number)
                rows = [Row(begin + at, row) for at, row in enumerate(batch.to_pylist(), start=1)]
                share = number / self._ends[-1]
                yield Chunk(Span(Mark(group, begin), end, len(rows), share), rows, batch)


def _opened(path: Path) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (ArrowException, OSError) as error:
        why = getattr(error, "strerror", None) or "it is not a Parquet file"
        raise InvalidInput(f"{path} cannot be read: {why}.") from None
