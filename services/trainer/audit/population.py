"""Reads the table of a population that the feedback is held against."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.trainer.audit.slices import Population
from shared.errors import InvalidInput

_COLUMNS = ("slice", "value", "share")
_LONGEST = 131_072  # characters; the csv module's own bound is one for the whole process


def read_population(path: Path) -> Population:
    """Shares by slice and value, from rows of `slice,value,share` in CSV or JSON.

    Raises:
        InvalidInput: the file cannot be read, or the shares of a slice are no shares.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a mark
            is_json = path.suffix == ".json"
            rows = json.load(file) if is_json else list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InvalidInput(
            f"The population table {path} cannot be read ({type(error).__name__}); give a CSV "
            "file, or a JSON list, of slice, value and share."
        ) from None
    if not isinstance(rows, list):
        raise InvalidInput(f"The population table {path} is no list of rows.")
    return _checked(rows, path)


def population_of(path: str | None) -> Population:
    """The table that a recipe's parameter names; none is an empty one.

    Raises:
        InvalidInput: see `read_population`.
    """
    return read_population(Path(path)) if path else {}


def _checked(rows: Iterable[Any], path: Path) -> Population:
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for number, row in enumerate(rows, start=1):
        name, value, part = _cells(row, number, path)
        if value in shares[name]:
            raise InvalidInput(f"Row {number} of {path} gives a value of its slice twice.")
        shares[name][value] = part
    for name, parts in shares.items():
        if sum(parts.values()) > 1 + 1e-6:
            raise InvalidInput(
                f"The shares of {name} in {path} add up to more than 1; give parts of 1."
            )
    return shares


def _cells(row: Any, number: int, path: Path) -> tuple[str, str, float]:
    if not isinstance(row, Mapping) or any(row.get(column) is None for column in _COLUMNS):
        raise InvalidInput(f"Row {number} of {path} lacks one of slice, value and share.")
    name, value, said = (row[column] for column in _COLUMNS)
    if max(len(str(name)), len(str(value))) > _LONGEST:
        raise InvalidInput(
            f"Row {number} of {path} cannot be read: it has over {_LONGEST:,} characters in a cell."
        )
    try:
        part = float(said)
    except (TypeError, ValueError):
        part = math.nan
    if not 0 <= part <= 1:
        raise InvalidInput(f"The share in row {number} of {path} is no number from 0 to 1.")
    return str(name), str(value), part
