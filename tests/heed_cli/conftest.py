"""Runs the real `heed` command as a process, in folders whose names need quoting."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heed_cli.deployment import Deployment, bring_down
from heed_cli.demo.command import free_ports

Heed = Callable[..., subprocess.CompletedProcess[str]]
_TIMEOUT_S = 300


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a space in its name, outside pytest's own, which Postgres may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="heed cli "))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(home: Path) -> Iterator[Path]:
    """A data dir that does not exist yet; whatever a test starts in it is stopped at the end."""
    data_dir = home / "data dir"
    yield data_dir
    if data_dir.exists():
        list(bring_down(Deployment.of(data_dir)))


@pytest.fixture
def heed(home: Path, place: Path) -> Heed:
    """Run `heed …` on the data dir, with free ports and nothing of our own environment."""
    ports = {f"HEED_{name.upper()}": str(port) for name, port in free_ports().items()}
    plain = {"PATH": "/usr/bin:/bin", "HEED_DATA_DIR": str(place), "COLUMNS": "200", **ports}

    def run(*args: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "heed_cli", *map(str, args)],
            cwd=home,
            env={**plain, **settings},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    return run
