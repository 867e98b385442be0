"""Rows of JSON, JSON Lines, CSV and Parquet files, plain or gzipped, each knowing its place.

Only a piece of the file is in memory at any time. A row that cannot be read carries its fault, so
that one bad line does not keep the others out; a file that cannot be read at all raises.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heed_cli.exchange.csv_rows import csv_rows
from heed_cli.exchange.json_array import array_items
from heed_cli.exchange.rows import Row, not_utf8
from shared.errors import Detail, InvalidInput

JSON_LINES = (".jsonl", ".ndjson", ".json")
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Watch:
    """Says how much of a file is read."""

    def __init__(self) -> None:
        self._file: Any = None
        self._size = 1

    def open(self, path: Path) -> Any:
        """The file's bytes as they lie on the disk."""
        self._file = path.open("rb")
        self._size = max(path.stat().st_size, 1)
        return self._file

    @property
    def share(self) -> float:
        """From 0 to 1."""
        if self._file is None or self._file.closed:
            return 1.0
        return min(float(self._file.tell()) / self._size, 1.0)


def file_kind(path: Path) -> str:
    """The suffix that says how the file is written, without `.gz`.

    Raises:
        InvalidInput: it is none that can be read or written.
    """
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (*JSON_LINES, *DELIMITERS, ".parquet"):
        raise InvalidInput(
            f"{path} is none of .jsonl, .json, .csv, .tsv or .parquet (also with .gz): give the "
            "file a name that says how it is written."
        )
    if kind == ".parquet" and path.suffix == ".gz":
        raise InvalidInput(f"{path}: Parquet is compressed by itself; unpack it first.")
    return kind


def read_rows(path: Path, watch: Watch | None = None) -> Iterator[Row]:
    """The rows of a file; its name says how it is written.

    Raises:
        InvalidInput: the file is not there, or not at all what its name says.
    """
    kind = file_kind(path)
    try:
        with (watch or Watch()).open(path) as file:
            if kind == ".parquet":
                yield from _parquet_rows(path, file)
            elif path.suffix == ".gz":
                with gzip.open(file) as unpacked:
                    yield from _text_rows(path, kind, unpacked)
            else:
                yield from _text_rows(path, kind, file)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or "damaged, or cut off"
        raise InvalidInput(f"{path} cannot be read: {why}.") from None


def _text_rows(path: Path, kind: str, file: Any) -> Iterator[Row]:
    if kind in DELIMITERS:
        yield from csv_rows(path, file, DELIMITERS[kind])
    elif kind == ".json" and _starts_array(file):
        yield from _array_rows(path, file)
    else:
        yield from _json_rows(path, file)


def _starts_array(file: Any) -> bool:
    start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    return bool(start.startswith(b"["))


def _array_rows(path: Path, file: Any) -> Iterator[Row]:
    try:
        for number, values in enumerate(array_items(file), start=1):
            place = f"{path.name}, item {number}"
            fault = None if isinstance(values, dict) else _not_json()
            yield Row(number, place, values if fault is None else {}, fault)
    except ValueError:
        raise InvalidInput(
            f"{path} is not one JSON array in UTF-8, or ends in the middle."
        ) from None


def _json_rows(path: Path, lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield _json_row(number, f"{path.name}, line {number}", text)


def _json_row(number: int, place: str, line: bytes) -> Row:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        return Row(number, place, fault=not_utf8())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return Row(number, place, fault=_not_json())
    return Row(number, place, values)


def _parquet_rows(path: Path, source: Any) -> Iterator[Row]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(source) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, f"{path.name}, row {number}", values)
    except ArrowException:
        raise InvalidInput(f"{path} is not a Parquet file.") from None


def _not_json() -> Detail:
    return Detail("", "not_json", "This is not one JSON object; correct or remove it")
