import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import REPOSITORY, WHEEL

from shared.db import embedded
from shared.db.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A running server for the tests that only ask it something."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    yield embedded.start(folder)
    embedded.stop(folder, mode="immediate")
    shutil.rmtree(folder)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def public_packages() -> Iterator[Path]:
    """Our code and the wheel where every user can read them."""
    folder = Path(tempfile.mkdtemp(prefix="heed-test-"))
    for package in (REPOSITORY / "shared", *WHEEL.parent.glob(f"{WHEEL.name}*")):
        unneeded = shutil.ignore_patterns("include", "*.a", "pginstall")
        shutil.copytree(package, folder / package.name, symlinks=True, ignore=unneeded)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
