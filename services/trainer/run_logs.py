"""What a run of the worker writes: the whole log beside the worker, its last lines in the row.

The log holds what Heed, transformers and the like print: steps, warnings, where something failed.
Prompts and responses are never printed; whoever adds a line keeps it so.
"""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

TAIL_BYTES = 16 * 1024
_END = "--- end of attempt "
_LEAST_PAUSE_S = 2.0


def read_tail(path: Path, most_bytes: int = TAIL_BYTES, *, is_over: bool = True) -> str:
    """The last whole lines of a log; of a progress bar only what it shows last.

    While the process still writes (`is_over=False`) the line it is in is left out.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - most_bytes))
            content = file.read()
    except FileNotFoundError:
        return ""
    if start:
        content = content.partition(b"\n")[2] or content
    if not is_over:
        content = content[: content.rfind(b"\n") + 1]
    text = content.decode(errors="replace").replace("\0", "")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def last_tail(path: Path, attempt: int) -> str:
    """The tail of an attempt that writes no more, and a line that says so."""
    tail = read_tail(path)
    newline = "" if not tail or tail.endswith("\n") else "\n"
    return f"{tail}{newline}{_END}{attempt}\n"


def is_last(tail: str | None, attempt: int) -> bool:
    """Whether a stored tail is the last of this attempt."""
    return (tail or "").endswith(f"{_END}{attempt}\n")


def log_uri(path: Path) -> str:
    """Where the whole log lies: the machine and the file."""
    return f"file://{socket.gethostname()}{path.absolute()}"


def path_here(uri: str | None) -> Path | None:
    """The file of such a URI when it lies on this machine, else None."""
    here = f"file://{socket.gethostname()}/"
    if uri is None or not uri.startswith(here):
        return None
    path = Path("/", uri.removeprefix(here))
    return path if path.is_file() else None


@dataclass
class TailSender:
    """Says what of a log is to be stored next: only what changed, and not all the time."""

    path: Path
    _sent: tuple[int, float] = field(default=(-1, float("-inf")))

    def due(self, now: float) -> str | None:
        """The tail when it grew since it was last asked for, some seconds ago; else None."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size == self._sent[0] or now - self._sent[1] < _LEAST_PAUSE_S:
            return None
        self._sent = size, now
        return read_tail(self.path, is_over=False)
