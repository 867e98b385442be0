"""The file that lists the rows that were refused: where, why and what to do, never a text."""

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from shared.errors import Detail, InvalidInput


class FaultFile:
    """Appends to a file that exists only once there is something in it."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        try:
            if keep_bytes == 0:
                path.unlink(missing_ok=True)
            elif path.exists():
                self._open(keep_bytes)
        except OSError as error:
            raise unwritable(path, error) from None

    def __enter__(self) -> "FaultFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, faults: Iterable[tuple[int, str, Detail]]) -> None:
        """Write one line per fault.

        Raises:
            InvalidInput: the file cannot be written.
        """
        lines = [
            {
                "line": number,
                "place": place,
                "pointer": one.pointer,
                "code": one.code,
                "do": one.detail,
            }
            for number, place, one in faults
        ]
        if not lines:
            return
        try:
            file = self._file or self._open(0)
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        except OSError as error:
            raise unwritable(self.path, error) from None

    def flush(self) -> int:
        """The size of the file once all of it is handed to the system, bytes."""
        if self._file is None:
            return 0
        self._file.flush()
        return self._file.tell()

    def _open(self, keep_bytes: int) -> BinaryIO:
        self.path.touch(mode=0o600)
        self._file = file = self.path.open("r+b")
        file.truncate(keep_bytes)
        file.seek(0, 2)
        return file


def unwritable(path: Path, error: OSError) -> InvalidInput:
    """The refusal of a place for what an import must write down."""
    return InvalidInput(
        f"{path} cannot be written ({error.strerror}): name another place with --errors."
    )
