"""Scored rows as Parquet: columns of a Parquet file stay as they are, others get a type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.trainer.batch_scoring.parquet_source import ParquetRows
from services.trainer.batch_scoring.rows import Chunk, Source
from services.trainer.batch_scoring.scored import Asked, Results
from services.trainer.batch_scoring.writing import as_cell, kept

_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 << 20
_MOST_EXACT = 1 << 53  # whole numbers beyond it have no place among floats


def kinds_of(source: Source, asked: Asked) -> dict[str, str]:
    """The columns of all rows in the order they come up, and what each one holds.

    A kind is `bool`, `int`, `float`, `text`, or `json` where values differ or are nested.
    """
    found: dict[str, set[str]] = {name: set() for name in source.columns or ()}
    for chunk in source.chunks():
        for row in chunk.rows:
            for name, value in kept(row, asked).items():
                found.setdefault(name, set()).add(_kind(value))
    return {name: _common(kinds - {""}) for name, kinds in found.items()}


def _kind(value: Any) -> str:
    if isinstance(value, int) and abs(value) > _MOST_EXACT:
        return "long" if -(2**63) <= value < 2**63 else "json"
    known = {type(None): "", str: "text", bool: "bool", int: "int", float: "float"}
    return known.get(type(value), "json")


def _common(kinds: set[str]) -> str:
    if kinds == {"int", "float"}:
        return "float"
    if kinds in ({"long"}, {"int", "long"}):
        return "int"
    return next(iter(kinds)) if len(kinds) == 1 else ("json" if kinds else "text")


class ParquetWriter:
    """Writes row groups of about 64 MiB or 65,536 rows."""

    def __init__(self, path: Path, source: Source, asked: Asked, *, aspects: Sequence[str]) -> None:
        """Begin a file of the source's columns and those of the results.

        Args:
            path: the file.
            source: where the rows come from, read once for its types unless it is Parquet.
            asked: what was asked.
            aspects: names in the extra `aspects`.
        """
        import pyarrow
        from pyarrow.parquet import ParquetWriter as Writer

        self._arrow = pyarrow
        self._asked = asked
        types = _result_types(aspects)
        self._results = pyarrow.schema(
            [(name, types[kind]) for name, kind in asked.columns.items()]
        )
        self._kinds = {} if isinstance(source, ParquetRows) else kinds_of(source, asked)
        own = source.schema if isinstance(source, ParquetRows) else _schema(self._kinds)
        self._schema = pyarrow.schema([*own, *self._results], metadata=own.metadata)
        self._writer = Writer(path, self._schema)
        self._held: list[Any] = []

    def write(self, chunk: Chunk, results: Results) -> None:
        """Take the rows of a chunk; they are written when there is enough for a row group."""
        own = self._columns(chunk) if chunk.batch is None else chunk.batch.columns
        found = [self._arrow.array(results[field.name], type=field.type) for field in self._results]
        self._held.append(self._arrow.RecordBatch.from_arrays([*own, *found], schema=self._schema))
        rows = sum(batch.num_rows for batch in self._held)
        if rows >= _GROUP_ROWS or sum(batch.nbytes for batch in self._held) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and what the file says of itself."""
        self._flush()
        self._writer.close()

    def _columns(self, chunk: Chunk) -> list[Any]:
        rows = [kept(row, self._asked) for row in chunk.rows]
        return [
            self._arrow.array(
                [_typed(row.get(name), kind) for row in rows], type=self._schema.field(name).type
            )
            for name, kind in self._kinds.items()
        ]

    def _flush(self) -> None:
        if self._held:
            table = self._arrow.Table.from_batches(self._held, schema=self._schema)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
            self._held.clear()


def _typed(value: Any, kind: str) -> Any:
    return as_cell(value) if kind in ("text", "json") else value


def _schema(kinds: Mapping[str, str]) -> Any:
    import pyarrow

    types = {"bool": pyarrow.bool_(), "int": pyarrow.int64(), "float": pyarrow.float64()}
    return pyarrow.schema(
        [(name, types.get(kind, pyarrow.string())) for name, kind in kinds.items()]
    )


def _result_types(aspects: Sequence[str]) -> dict[str, Any]:
    """The Arrow type of each kind of result."""
    import pyarrow

    number, flag = pyarrow.float64(), pyarrow.bool_()
    interval = pyarrow.struct([(name, number) for name in ("low", "expected", "high")])
    return dict.fromkeys(("score", "raw", "reward", "uncertainty"), number) | {
        "truncated": flag,
        "out_of_domain": flag,
        "interval": interval,
        "aspects": pyarrow.struct([(name, number) for name in aspects]),
        "steps": pyarrow.list_(number),
        "error": pyarrow.string(),
    }
