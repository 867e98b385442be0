"""Runs the real `heed` command as a process, in folders whose names need quoting."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heed_cli.demo.command import free_ports
from heed_cli.deployment import Deployment, bring_down
from shared.db import embedded
from tests.support.commands import TIMEOUT_S, run_command


@dataclass
class Heed:
    """The command on one data dir, with free ports and nothing of our own environment."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return self.home / "data dir"

    def __call__(self, *args: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """How a command ended that was forked from what its imports were loaded in."""
        return run_command(["heed", *args], self._environment(settings), self.home)

    def afresh(self, *args: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """How a command ended in an interpreter of its own."""
        return self.run([sys.executable, "-P", "-m", "heed_cli", *map(str, args)], **settings)

    def run(self, command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.home,
            env=self._environment(settings),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        plain = {
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            "HEED_DATA_DIR": str(self.data_dir),
        }
        return {**plain, **self.settings, **settings}

    def done(self, *args: str | Path, **settings: str) -> str:
        """What a command printed that must succeed."""
        ended = self(*args, **settings)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def refused(self, *args: str | Path, **settings: str) -> str:
        """The one line on standard error of a command that must fail."""
        ended = self(*args, **settings)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        return ended.stderr

    def stop(self) -> None:
        for run in self.home.glob("**/run"):
            list(bring_down(Deployment.of(run.parent)))
        for postgres in self.home.glob("**/postgres.lock"):
            list(bring_down(Deployment.of(postgres.parent)))


@contextmanager
def new_heed() -> Iterator[Heed]:
    """Outside pytest's own folder, which the user that Postgres runs as may not enter."""
    home = Path(tempfile.mkdtemp(prefix="heed cli "))
    ports = {f"HEED_{name.upper()}": str(port) for name, port in free_ports().items()}
    heed = Heed(home, ports)
    try:
        yield heed
    finally:
        heed.stop()
        shutil.rmtree(home)


@pytest.fixture
def heed() -> Iterator[Heed]:
    """The command on a data dir that does not exist yet; what it starts is stopped at the end."""
    with new_heed() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Heed]:
    """A second deployment beside the first."""
    with new_heed() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[Heed]:
    """A whole deployment that runs; the tests of one module share it."""
    with new_heed() as made:
        made.done("up")
        yield made


@pytest.fixture(scope="module")
def migrated() -> Iterator[Heed]:
    """A deployment of which only the database runs; the tests of one module share it."""
    with new_heed() as made:
        made.done("migrate")
        embedded.start(made.data_dir)
        yield made
