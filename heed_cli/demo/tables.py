"""Rows of JSON Lines, CSV and Parquet files, plain or gzipped, each knowing its line."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import InvalidInput

_LONGEST_FIELD = 10_000_000
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Row:
    """One row: where it stands in the file, and its columns."""

    place: str
    values: Mapping[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file; its name says how it is written.

    Raises:
        InvalidInput: the file is not there or not what its name says; names the line.
    """
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in (*_JSON_LINES, *_DELIMITERS, ".parquet"):
        raise InvalidInput(f"{path} is none of .jsonl, .csv, .tsv or .parquet (also with .gz).")
    try:
        yield from _rows(path, kind)
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or "damaged"
        raise InvalidInput(f"{path} cannot be read: {why}.") from None


def _rows(path: Path, kind: str) -> Iterator[Row]:
    if kind == ".parquet":
        yield from _parquet_rows(path)
        return
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        lines = _decoded(path, file)
        if kind in _JSON_LINES:
            yield from _json_rows(path, lines)
        else:
            yield from _csv_rows(path, lines, _DELIMITERS[kind])


def _decoded(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InvalidInput(f"{_place(path, number)} is not UTF-8.") from None


def _json_rows(path: Path, lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                values = json.loads(line)
            except ValueError:
                values = None
            if not isinstance(values, dict):
                raise InvalidInput(f"{_place(path, number)} is not one JSON object.")
            yield Row(_place(path, number), values)


def _csv_rows(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        for values in reader:
            place = _place(path, reader.line_num)
            if None in values:
                raise InvalidInput(f"{place} has more fields than the header has columns.")
            yield Row(place, values)
    except csv.Error:
        raise InvalidInput(f"{_place(path, reader.line_num)} is not valid CSV.") from None


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    if path.suffix == ".gz":
        raise InvalidInput(f"{path}: Parquet is compressed by itself; unpack it first.")
    try:
        with ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path.name}, row {number}", values)
    except ArrowInvalid:
        raise InvalidInput(f"{path} is not a Parquet file.") from None


def _place(path: Path, number: int) -> str:
    return f"{path.name}, line {number}"
