"""CSV and Parquet, which say at their beginning which columns there are and what they hold."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from heed_cli.exchange.messages import is_conversation
from heed_cli.exchange.posts import Json
from shared.csv_rows import csv_rows

_AT_ONCE = 1000


def kind_of(value: Any) -> str:
    if value is None:
        return ""
    if is_conversation(value) and all(set(one) == {"role", "content"} for one in value):
        return "messages"
    return {str: "text", bool: "bool", int: "int", float: "float"}.get(type(value), "json")


def common_kind(kinds: set[str]) -> str:
    found = kinds - {""}
    if found == {"int", "float"}:
        return "float"
    return found.pop() if len(found) == 1 else ("json" if found else "text")


def write_csv(lines: Path, columns: dict[str, str], file: IO[str], delimiter: str) -> None:
    writer = csv_rows(file, list(columns), delimiter=delimiter)
    for row in _read(lines):
        writer.writerow({name: _cell(value) for name, value in row.items()})


def write_parquet(lines: Path, columns: dict[str, str], ready: Path) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    types = {
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "messages": pyarrow.list_(message),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    rows = _read(lines)
    with ParquetWriter(ready, schema) as writer:
        while part := list(islice(rows, _AT_ONCE)):
            fitting = [{n: _typed(row.get(n), kind) for n, kind in columns.items()} for row in part]
            writer.write_table(pyarrow.Table.from_pylist(fitting, schema=schema))


def _read(lines: Path) -> Iterator[Json]:
    with lines.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _typed(value: Any, kind: str) -> Any:
    return _cell(value) if kind in ("text", "json") else value
