"""What Heed stores is for its owner only, whatever the umask of the caller."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.artifacts import FolderStore
from shared.config import Settings
from shared.folders import make_private
from shared.privacy import load_secret


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[bool, set[int]]:
    """The modes of all folders (True) and files (False) from a folder down."""
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (folder, *folder.rglob("*")):
        found[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    return found


def test_stored_artifacts_and_datasets_are_for_the_owner_only(tmp_path: Path):
    model = tmp_path / "model" / "inner"
    model.mkdir(parents=True)
    (model / "weights").write_text("weights")
    store = FolderStore(tmp_path / "elsewhere" / "artifacts")

    store.put_folder(model.parent)
    store.put_file(model / "weights")
    with store.workspace() as work:
        while_working = modes(work)

    assert while_working[True] == {0o700}
    assert modes(tmp_path / "elsewhere") == {True: {0o700}, False: {0o600}}


def test_the_data_dir_made_for_the_secret_is_for_the_owner_only(tmp_path: Path):
    load_secret(Settings(data_dir=tmp_path / "new" / "data"))

    assert modes(tmp_path / "new") == {True: {0o700}, False: {0o600}}


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path):
    tmp_path.chmod(0o755)

    make_private(tmp_path / "inner")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "inner").stat().st_mode) == 0o700
