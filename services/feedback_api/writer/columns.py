"""How a plain group travels: one array for each column that any of its rows fills.

Arrays cost Postgres less than JSON does, and a column that stays empty costs nothing. Each set of
filled columns is a statement of its own, which each connection prepares once.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ARRAY
from sqlalchemy.dialects.postgresql import JSONB

from services.feedback_api.writer.kinds import Kind, Row
from services.feedback_api.writer.statements import store_new

MAX_STATEMENTS = 16
Names = tuple[str, ...]


def plain_group(kind: Kind, rows: Sequence[Row]) -> tuple[str, list[list[Any]]]:
    """The statement that stores new rows, and their columns as its last parameters."""
    columns = {name: [row[name] for row in rows] for name in kind.names}
    filled = tuple(name for name, given in columns.items() if given.count(None) < len(given))
    names = _offered(kind).best(filled)
    as_text = _as_text(kind)
    sent = [
        [as_text[name](value) for value in columns[name]] if name in as_text else columns[name]
        for name in names
    ]
    return store_new(kind, names), sent


class _Offered:
    """The sets of columns that have a statement: the first few that came, and all columns."""

    def __init__(self, all_names: Names) -> None:
        self._all = all_names
        self._known = {all_names}

    def best(self, filled: Names) -> Names:
        if filled not in self._known and len(self._known) == MAX_STATEMENTS:
            return self._all
        self._known.add(filled)
        return filled


@cache
def _offered(kind: Kind) -> _Offered:
    return _Offered(kind.names)


@cache
def _as_text(kind: Kind) -> dict[str, Callable[[Any], str | None]]:
    """What makes text of the values of which there are no arrays."""
    written = {JSONB: _json_text, ARRAY: _array_text}
    return {
        column.name: text
        for column in kind.table.c
        for type_, text in written.items()
        if isinstance(column.type, type_)
    }


def _json_text(value: Any) -> str | None:
    if value == {}:
        return "{}"
    return None if value is None else to_json(value).decode()


def _array_text(values: Sequence[str]) -> str:
    """The literal of a text[]."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
