"""Detached processes: started, found again by later commands, and stopped.

A record in `<data_dir>/run` names the pid *and* the birth of a process, since the kernel gives a
pid to somebody else later. Processes get their own session: Ctrl-C of `heed` does not reach them.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import ConfigError, Unavailable

_LOG_BYTES_KEPT = 10_000_000
_POLL_S = 0.05
_GONE_AFTER_KILL_S = 10.0


@dataclass(frozen=True)
class Program:
    """A module to run, the settings it gets on top of ours, and where it will listen."""

    name: str
    module: str
    settings: Mapping[str, str]
    url: str | None = None


@dataclass(frozen=True)
class Process:
    """A process that was started; `birth` tells it from a later one with the same pid."""

    name: str
    pid: int
    birth: str
    url: str | None
    started_at: float

    @property
    def is_alive(self) -> bool:
        """Whether it still runs: this very process, not another one with its pid."""
        return _birth(self.pid) == self.birth


class ProcessFolder:
    """The processes of one data dir: their records in `run`, what they write in `logs`."""

    def __init__(self, data_dir: Path) -> None:
        self.run = data_dir / "run"
        self.logs = data_dir / "logs"

    def make(self) -> None:
        """Raises ConfigError when the folder cannot be written."""
        try:
            for folder in (self.run.parent, self.run, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.run.parent} cannot be written ({error.strerror}): "
                "set HEED_DATA_DIR to a folder that can."
            ) from None

    def log(self, name: str) -> Path:
        """The file that a process writes to."""
        return self.logs / f"{name}.log"

    def find(self, name: str) -> Process | None:
        """The process last started under this name, dead or alive."""
        try:
            return Process(**json.loads(self._record(name).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def start(self, program: Program) -> Process:
        """Start a program and leave it running."""
        with _rotated(self.log(program.name)).open("ab") as log:
            child = subprocess.Popen(
                _command(program),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # It outlives us; should it end before, it must not stay a zombie that looks alive.
        threading.Thread(target=child.wait, daemon=True).start()
        process = Process(
            program.name, child.pid, _birth(child.pid) or "", program.url, round(time.time(), 3)
        )
        self._write(process)
        return process

    def stop(self, name: str, *, grace_s: float) -> bool:
        """True when a running process was stopped: asked first, ended after `grace_s`.

        Raises:
            Unavailable: it cannot be ended, such as one of another user.
        """
        process = self.find(name)
        stopped = process is not None and process.is_alive and _end(process, grace_s)
        self._record(name).unlink(missing_ok=True)
        return stopped

    def last_words(self, name: str) -> str:
        """The last line that a process wrote."""
        log = self.log(name)
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return lines[-1][:300] if lines else "nothing"

    def _record(self, name: str) -> Path:
        return self.run / f"{name}.json"

    def _write(self, process: Process) -> None:
        aside = self.run / f"{process.name}.json.{os.getpid()}"
        aside.write_text(json.dumps(asdict(process)))
        aside.replace(self._record(process.name))


def _command(program: Program) -> list[str]:
    """`env` adds settings to our own; -P keeps a `shared` in the current folder out."""
    given = [f"{name}={value}" for name, value in program.settings.items()]
    return ["/usr/bin/env", *given, sys.executable, "-P", "-m", program.module]


def _rotated(log: Path) -> Path:
    if log.exists() and log.stat().st_size > _LOG_BYTES_KEPT:
        log.replace(log.with_suffix(".log.1"))
    return log


def _birth(pid: int) -> str | None:
    """When a live process began, in words of this system; None when there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _birth_by_ps(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks_since_boot = fields[0], fields[19]
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if state in "ZX" else f"{boot}:{ticks_since_boot}"


def _birth_by_ps(pid: int) -> str | None:
    said = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, began = said.stdout.strip().partition(" ")
    return began.strip() if began and not state.startswith("Z") else None


def _end(process: Process, grace_s: float) -> bool:
    try:
        os.kill(process.pid, signal.SIGTERM)
        if not _is_gone(process, grace_s):
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        raise Unavailable(
            f"{process.name} (process {process.pid}) belongs to another user: stop it as that one."
        ) from None
    if not _is_gone(process, _GONE_AFTER_KILL_S):
        raise Unavailable(f"{process.name} (process {process.pid}) cannot be ended, even by force.")
    return True


def _is_gone(process: Process, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while process.is_alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
