"""A row of a file: where it stands, and what it holds or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import Detail


@dataclass(frozen=True)
class Row:
    """One row: its number in the file, its place in words, and its columns or what is wrong."""

    number: int
    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: Detail | None = None


def not_utf8() -> Detail:
    """The fault of bytes in another encoding."""
    return Detail("", "not_utf8", "This is not UTF-8; save the file in that encoding")
