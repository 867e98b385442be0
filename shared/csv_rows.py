"""CSV that can be read again.

With short line ends Python 3.11 leaves a carriage return in a cell unquoted, which ends the row.
"""

import csv
from collections.abc import Sequence
from typing import IO


def csv_rows(
    file: IO[str], columns: Sequence[str], *, delimiter: str = ","
) -> "csv.DictWriter[str]":
    """A writer of rows, which has written their header.

    Args:
        file: opened with `newline=""`.
        columns: names, in their order.
        delimiter: what stands between two cells.
    """
    writer = csv.DictWriter(_ShortEnds(file), columns, delimiter=delimiter)
    writer.writeheader()
    return writer


class _ShortEnds:
    """Shortens line ends; a writer of long ones quotes cells with a part of one."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, line: str) -> int:
        """Write one line."""
        return self._file.write(line.removesuffix("\r\n") + "\n")
