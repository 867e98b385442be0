"""One bucket, as the machine sees it that stores in it, and as another one does."""

from pathlib import Path

import pytest

from shared.artifacts.bucket import BucketStore
from tests.support.s3 import Place


@pytest.fixture
def store(s3: Place, tmp_path: Path) -> BucketStore:
    """The store as the machine sees it that makes models."""
    return s3.store(tmp_path / "here")


@pytest.fixture
def elsewhere(s3: Place, tmp_path: Path) -> BucketStore:
    """The store as another machine sees it."""
    return s3.store(tmp_path / "elsewhere")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of three files, one in a folder and with a name that needs care in a URL."""
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "inner" / "ä b+c%20#?.txt").write_text("text")
    (folder / "weights").write_bytes(b"weights")
    return folder
