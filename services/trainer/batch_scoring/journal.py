"""The results of whole chunks beside the file to come, so that a killed command goes on.

The first line says what is scored, by what and how; then one line per chunk. Each line begins with
its checksum: a line that was cut off, by a kill or a power cut, and all behind it, never were.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from services.trainer.batch_scoring.rows import START, Mark, Span
from services.trainer.batch_scoring.scored import Results
from shared.errors import Conflict, InvalidInput

Identity = Mapping[str, Any]

_SCHEMA_VERSION = 1


@dataclass
class Progress:
    """How far a file is scored."""

    mark: Mark = START
    share: float = 0.0
    chunks: int = 0
    rows: int = 0


class Journal:
    """Appends results, holds the only lock on them, and reads them back."""

    def __init__(self, path: Path, identity: Identity, *, restart: bool = False) -> None:
        """Go on with what is there, unless it shall be forgotten.

        Args:
            path: the journal's file; it is made when it is missing.
            identity: what is scored, by what and how, in words as keys.
            restart: forget what is there.

        Raises:
            Conflict: it belongs to another input, model or command, or somebody is writing it.
            InvalidInput: it cannot be written there.
        """
        self.path = path
        self.done = Progress()
        try:
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        except OSError as error:
            raise InvalidInput(
                f"{path} cannot be written ({error.strerror}): name another --output."
            ) from None
        try:
            self._lock()
            if restart:
                self._file.truncate(0)
            self._go_on(identity)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, span: Span, results: Results) -> None:
        """Enter the results of the next chunk.

        Raises:
            InvalidInput: it cannot be written.
        """
        self._write({"span": span, "results": results})
        self._count(span)

    def results(self) -> Iterator[Results]:
        """The results of all chunks, in their order.

        Raises:
            Conflict: they are not all there any more.
        """
        self._file.seek(0)
        missing = self.done.chunks
        for entry, _ in _entries(self._file):
            if "results" in entry:
                missing -= 1
                yield entry["results"]
        if missing:
            raise Conflict(f"{self.path} was damaged: score the file anew with --restart.")

    def remove(self) -> None:
        """Forget the results; the whole file is there now."""
        self.path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another `heed score` is writing {self.path}; let it end.") from None

    def _go_on(self, identity: Identity) -> None:
        """Count what is whole and cut off the rest."""
        entries = _entries(self._file)
        header, end = next(entries, ({}, 0))
        if not end:
            self._file.truncate(0)
            self._file.seek(0)  # reading has gone on past the beginning that was cut off
            self._write({"schema_version": _SCHEMA_VERSION, "identity": identity})
            return
        self._refuse_other(header, identity)
        for entry, whole in entries:
            start, end_mark, rows, share = entry["span"]
            self._count(Span(Mark(*start), Mark(*end_mark), rows, share))
            end = whole
        self._file.truncate(end)
        self._file.seek(end)

    def _refuse_other(self, header: Mapping[str, Any], identity: Identity) -> None:
        ours = json.loads(json.dumps(identity))
        is_known = header.get("schema_version") == _SCHEMA_VERSION
        theirs = header.get("identity", {}) if is_known else {}
        changed = [name for name in ours if theirs.get(name) != ours[name]]
        if changed:
            raise Conflict(
                f"{self.path} was begun with another {' and '.join(changed)}: go on with the same, "
                "or begin anew with --restart."
            )

    def _count(self, span: Span) -> None:
        self.done.mark, self.done.share = span.end, span.share
        self.done.chunks += 1
        self.done.rows += span.rows

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False).encode()
        try:
            self._file.write(b"%08x %b\n" % (crc32(line), line))
            self._file.flush()
        except OSError as error:
            raise InvalidInput(
                f"{self.path} cannot be written ({error.strerror}); make room, and the same "
                "command goes on."
            ) from None


def _entries(file: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole entries of an open journal, and where each one ends."""
    end = 0
    while line := file.readline():
        checksum, _, content = line[:-1].partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % crc32(content):
            return
        end += len(line)
        yield json.loads(content), end
