"""Scored rows as JSON Lines or CSV: every row of the file in its order, with its results."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from typing import IO, Any

from services.trainer.batch_scoring.rows import Chunk, Row
from services.trainer.batch_scoring.scored import LINE, UNREAD, Asked, Results, fault_of
from shared.contracts.storable import is_unicode
from shared.csv_rows import csv_rows


def joined(chunk: Chunk, results: Results) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row of a chunk with its own results."""
    cells = zip(*results.values(), strict=True)
    for row, values in zip(chunk.rows, cells, strict=True):
        yield row, dict(zip(results, values, strict=True))


def kept(row: Row, asked: Asked) -> Mapping[str, Any]:
    """What is kept of a row: its columns, or its line and text where that is all there is."""
    if fault_of(row, asked) is None:
        return row.values
    return {LINE: row.number, UNREAD: row.text or as_json(row.values)}


class JsonWriter:
    """Writes one JSON object a line; what was read from such a line stays as it stood there."""

    def __init__(self, file: IO[bytes], asked: Asked) -> None:
        self._file = file
        self._asked = asked

    def write(self, chunk: Chunk, results: Results) -> None:
        """Write the rows of a chunk."""
        lines = (self._line(row, cells) for row, cells in joined(chunk, results))
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        """Nothing is left to write."""

    def _line(self, row: Row, cells: Mapping[str, Any]) -> str:
        values = kept(row, self._asked)
        if values is row.values and row.text and values:
            return f"{row.text[:-1].rstrip()}, {as_json(cells)[1:]}\n"
        return f"{as_json({**values, **cells})}\n"


class CsvWriter:
    """Writes CSV or TSV; what is neither text nor empty is written as JSON."""

    def __init__(self, file: IO[str], asked: Asked, columns: Sequence[str], delimiter: str) -> None:
        """Write the header: columns of the rows, then those of the results."""
        self._asked = asked
        self._writer = csv_rows(file, [*columns, *asked.columns], delimiter=delimiter)

    def write(self, chunk: Chunk, results: Results) -> None:
        """Write the rows of a chunk."""
        for row, cells in joined(chunk, results):
            values = {**kept(row, self._asked), **cells}
            self._writer.writerow({name: as_cell(value) for name, value in values.items()})

    def close(self) -> None:
        """Nothing is left to write."""


def as_cell(value: Any) -> str | None:
    """A value as text: nothing as nothing, all else as JSON, and a text as it is.

    Half of a surrogate pair, which no file of text can hold, is spelt as in JSON.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value if value is None else as_json(value)


def as_json(value: Any) -> str:
    """JSON of a value, also of what only Parquet knows: times, decimals and bytes.

    JSON has no NaN and no infinity: null stands for them.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        return as_json(_finite(value))
    return text if is_unicode(text) else json.dumps(value, default=_plain)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
