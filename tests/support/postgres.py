"""Running, asking and killing the embedded Postgres from tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import shared
from shared.db import embedded
from shared.db.embedded import EmbeddedPostgres

REPOSITORY = Path(shared.__file__).parents[1]
ENV = {"PYTHONPATH": ":".join(sys.path)}
WHEEL = embedded.binary("postgres").parents[2]
START = """
import sys
from pathlib import Path
from shared.db import embedded
from shared.errors import HeedError
try:
    running = embedded.start(Path(sys.argv[1]))
except HeedError as error:
    raise SystemExit(f"{type(error).__name__}: {error.detail}")
sys.stdout.write(str(running.pid))
"""
STOP = (
    "import sys, pathlib; from shared.db import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def run_as(uid: int, code: str, folder: Path, packages: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python as another user; ours may lie in a private folder, the system's does not."""
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(PermissionError, FileNotFoundError):
            return run_python(code, folder, packages, python=python, user=uid)
    pytest.skip(f"{sys.executable} is in a private folder and there is no /usr/bin/python3")


def run_python(
    code: str, folder: Path, *packages: Path, python: str = sys.executable, user: int | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, "-c", code, str(folder)],
        cwd="/",
        env={"PYTHONPATH": ":".join(map(str, (*packages, REPOSITORY)))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def query(running: EmbeddedPostgres, statement: str) -> str:
    said = embedded.run_binary(
        "psql", ["-X", "-qAt", "-d", running.url(), "-c", statement], major=running.major
    )
    return said.decode().strip()


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def has_command_line(pid: int) -> bool:
    """False for a process that has ended, reaped or not."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def kill_hard(running: EmbeddedPostgres) -> None:
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not embedded.status(running.data_dir.parent).running)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.02)
