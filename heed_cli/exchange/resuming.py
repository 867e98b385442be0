"""How far an import has come, in a small file, so that the same command goes on from there."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from heed_cli.exchange.faults import FaultFile, unwritable

_EVERY_S = 1.0


@dataclass
class Tally:
    """What became of the rows so far."""

    rows: int = 0
    stored: int = 0
    repeated: int = 0
    refused: int = 0
    posts: int = 0


@dataclass
class Attempt:
    """Everything up to `settled_to` is settled; the file says so at most a second later."""

    path: Path
    faults_path: Path
    what: dict[str, Any]
    settled_to: int = 0
    faults_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    _saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, faults_path: Path, what: dict[str, Any]) -> "Attempt":
        """Where an earlier attempt at the very same import stopped, else a new one."""
        path = faults_path.with_name(f"{faults_path.name}.progress")
        new = cls(path, faults_path, what)
        try:
            said = json.loads(path.read_text())
            if said["what"] == json.loads(json.dumps(what)):
                new.settled_to, new.faults_bytes = (
                    int(said["settled_to"]),
                    int(said["faults_bytes"]),
                )
                new.tally = Tally(**said["tally"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path, faults_path, what)  # there is none, or another version wrote it
        return new

    def open_faults(self) -> FaultFile:
        """The file of refused rows, with those that are settled already."""
        return FaultFile(self.faults_path, self.faults_bytes)

    def settle(self, last: int, faults: FaultFile) -> None:
        """Everything up to the row `last` is settled now."""
        self.settled_to = last
        if time.monotonic() - self._saved_at > _EVERY_S:
            self.save(faults)

    def save(self, faults: FaultFile) -> None:
        """Write it down.

        Raises:
            InvalidInput: that is not possible there.
        """
        self.faults_bytes = faults.flush()
        said = {
            "what": self.what,
            "settled_to": self.settled_to,
            "faults_bytes": self.faults_bytes,
            "tally": asdict(self.tally),
        }
        aside = self.path.with_name(f".{self.path.name}.new")
        try:
            aside.write_text(json.dumps(said))
            aside.replace(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._saved_at = time.monotonic()

    def forget(self) -> None:
        """The import is done; a later one reads the whole file."""
        self.path.unlink(missing_ok=True)
