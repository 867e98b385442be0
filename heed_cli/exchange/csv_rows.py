"""Rows of CSV and TSV files, of which any line may be damaged."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from heed_cli.exchange.rows import Row, not_utf8
from shared.contracts.storable import is_unicode
from shared.errors import Detail, InvalidInput

_LONGEST_FIELD = 10_000_000


def csv_rows(path: Path, file: Iterable[bytes], delimiter: str) -> Iterator[Row]:
    """The rows; a byte that is not UTF-8 becomes half of a surrogate pair, which tells its row."""
    csv.field_size_limit(_LONGEST_FIELD)
    lines = (
        line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")
        for number, line in enumerate(file)
    )
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    _require_header(path, reader)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fault = Detail("", "not_csv", "The quotes of this line do not fit; correct it")
            yield _csv_row(path, reader.line_num, {}, fault)
            continue
        yield _csv_row(path, reader.line_num, values, _csv_fault(values))


def _require_header(path: Path, reader: "csv.DictReader[str]") -> None:
    try:
        names = "".join(reader.fieldnames or ())
    except csv.Error:
        raise InvalidInput(f"The first line of {path} does not name columns: correct it.") from None
    if not is_unicode(names):
        raise InvalidInput(f"{path} is not UTF-8: save it in that encoding.")


def _csv_row(path: Path, number: int, values: Mapping[str, Any], fault: Detail | None) -> Row:
    return Row(number, f"{path.name}, line {number}", values, fault)


def _csv_fault(values: Mapping[Any, Any]) -> Detail | None:
    if None in values:
        return Detail("", "too_many_fields", "There are more fields than the header has columns")
    if None in values.values():
        return Detail("", "too_few_fields", "There are fewer fields than the header has columns")
    return None if is_unicode("".join(values.values())) else not_utf8()
