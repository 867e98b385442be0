"""A folder of whole, content-addressed artifacts."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from shared.artifacts import FolderStore, folder_sha256
from shared.errors import ArtifactError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def model(tmp_path: Path, text: str = "weights") -> Path:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "a.json").write_text("{}")
    (folder / "inner" / "b.txt").write_text(text)
    return folder


def test_a_file_is_named_by_its_hash(store: FolderStore, tmp_path: Path):
    (tmp_path / "data.jsonl").write_text("text\n")
    uri = store.put_file(tmp_path / "data.jsonl")

    sha256 = hashlib.sha256(b"text\n").hexdigest()
    assert uri == f"artifact://1/datasets/{sha256}.jsonl"
    assert store.path(uri).read_text() == "text\n"


def test_a_folder_is_stored_whole_and_once(store: FolderStore, tmp_path: Path):
    uri, sha256 = store.put_folder(model(tmp_path))
    again, _ = store.put_folder(model(tmp_path))

    assert uri == again
    assert folder_sha256(store.path(uri)) == sha256
    assert (store.path(uri) / "inner" / "b.txt").read_text() == "weights"


def test_other_content_is_another_artifact(store: FolderStore, tmp_path: Path):
    first, _ = store.put_folder(model(tmp_path))
    second, _ = store.put_folder(model(tmp_path, "other"))

    assert first != second
    assert (store.path(first) / "inner" / "b.txt").read_text() == "weights"


def test_a_damaged_copy_is_replaced_when_the_content_is_stored_again(
    store: FolderStore, tmp_path: Path
):
    uri, _ = store.put_folder(model(tmp_path))
    (store.path(uri) / "a.json").write_text("damaged")

    store.put_folder(model(tmp_path))

    assert (store.path(uri) / "a.json").read_text() == "{}"


@pytest.mark.parametrize(
    "uri", ["artifact://1/models/missing", "artifact://1/../secret", "/etc/passwd", "artifact://x"]
)
def test_what_is_not_in_the_store_is_refused(store: FolderStore, uri: str):
    with pytest.raises(ArtifactError):
        store.path(uri)


def test_a_failed_store_leaves_nothing_behind(store: FolderStore, tmp_path: Path):
    store.root.write_text("a file is in the way")

    with pytest.raises(ArtifactError, match="HEED_ARTIFACT_DIR"):
        store.put_folder(model(tmp_path))


def test_only_what_dead_processes_left_is_removed(store: FolderStore):
    code = (
        "import os, pathlib, shared.artifacts as a\n"
        f"work = a.FolderStore(pathlib.Path({str(store.root)!r})).workspace('{{name}}')\n"
        "(work.__enter__() / 'half').write_text('x')\n"
        "os._exit(9)"
    )
    for name in ("dead", "resumed"):
        subprocess.run([sys.executable, "-c", code.format(name=name)], check=False)

    with store.workspace("alive") as folder:
        removed = store.remove_partial(keep={"resumed"})
        left = sorted(path.name for path in folder.parent.iterdir())

    assert removed == ["dead"]
    assert left == ["alive", "resumed"]


def test_a_workspace_is_gone_after_an_error(store: FolderStore):
    def fail() -> None:
        with store.workspace("run") as folder:
            (folder / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list((store.root / ".partial").iterdir()) == []
