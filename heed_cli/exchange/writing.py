"""Writes rows as JSON Lines, a JSON array, CSV or Parquet, aside, until the file is complete.

Rows first go into JSON Lines beside the target. Only then is it known which columns there are and
what they hold, which CSV and Parquet must say at their beginning.
"""

import csv
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any

from heed_cli.exchange.messages import is_conversation
from heed_cli.exchange.posts import Json
from heed_cli.exchange.reading import DELIMITERS, file_kind
from shared.errors import InvalidInput
from shared.files import flush

_AT_ONCE = 1000
_LEVEL = 6  # of gzip: 9 takes twice as long for a few per cent


class RowWriter:
    """Takes rows, and knows their columns."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._kinds: dict[str, set[str]] = {}
        self.rows = 0

    def add(self, row: Json) -> None:
        """Write one row."""
        for name, value in row.items():
            self._kinds.setdefault(name, set()).add(_kind(value))
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def flush(self) -> None:
        """Have every row in the file."""
        self._file.flush()

    @property
    def columns(self) -> dict[str, str]:
        """Each column and what it holds: text, bool, int, float, messages, or json."""
        return {name: _common_kind(kinds) for name, kinds in self._kinds.items()}


@contextmanager
def lines_beside(path: Path) -> Iterator[tuple[RowWriter, Path]]:
    """A writer of rows for `path`, and where they lie meanwhile; removed at the end.

    Raises:
        InvalidInput: nothing can be written there, or the name says nothing of a known kind.
    """
    file_kind(path)
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder: name a file in it.")
    aside = path.with_name(f".{path.name}.{os.getpid()}.rows")
    try:
        aside.touch(mode=0o600, exist_ok=False)
        with aside.open("w", encoding="utf-8", newline="") as file:
            yield RowWriter(file), aside
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        aside.unlink(missing_ok=True)


def finish(lines: Path, columns: dict[str, str], path: Path) -> Path:
    """Write the rows as the target's name says, safe from a power cut, and not yet in its place.

    Returns:
        The file that only needs to be renamed.
    """
    ready = path.with_name(f".{path.name}.{os.getpid()}.ready")
    ready.touch(mode=0o600)
    kind = file_kind(path)
    if kind == ".parquet":
        _write_parquet(lines, columns, ready)
    else:
        with ready.open("wb") as raw, _packed(raw, path) as file:
            if kind in DELIMITERS:
                _write_csv(lines, columns, file, DELIMITERS[kind])
            else:
                _write_json(lines, file, is_array=kind == ".json")
    flush(ready)
    return ready


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


def _write_csv(lines: Path, columns: dict[str, str], file: IO[str], delimiter: str) -> None:
    writer = csv.DictWriter(file, list(columns), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for row in _read(lines):
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _write_parquet(lines: Path, columns: dict[str, str], ready: Path) -> None:
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


def _kind(value: Any) -> str:
    if value is None:
        return ""
    if is_conversation(value) and all(set(one) == {"role", "content"} for one in value):
        return "messages"
    return {str: "text", bool: "bool", int: "int", float: "float"}.get(type(value), "json")


def _common_kind(kinds: set[str]) -> str:
    found = kinds - {""}
    if found == {"int", "float"}:
        return "float"
    return found.pop() if len(found) == 1 else ("json" if found else "text")
