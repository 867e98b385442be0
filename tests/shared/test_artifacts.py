"""Stores of whole, content-addressed artifacts: a folder, and a bucket."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from shared.artifacts import ArtifactStore, FolderStore, folder_sha256, open_store
from shared.config import Settings
from shared.errors import ArtifactError, MissingArtifact, RunInterrupted


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "artifacts")
    return request.getfixturevalue("s3").store(tmp_path / "copies")


def model(tmp_path: Path, text: str = "weights") -> Path:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "a.json").write_text("{}")
    (folder / "inner" / "b.txt").write_text(text)
    return folder


def test_a_file_is_named_by_its_hash(store: ArtifactStore, tmp_path: Path):
    (tmp_path / "data.jsonl").write_text("text\n")
    uri = store.put_file(tmp_path / "data.jsonl")

    sha256 = hashlib.sha256(b"text\n").hexdigest()
    assert uri == f"artifact://1/datasets/{sha256}.jsonl"
    assert store.path(uri).read_text() == "text\n"


def test_a_folder_is_stored_whole_and_once(store: ArtifactStore, tmp_path: Path):
    uri, sha256 = store.put_folder(model(tmp_path))
    again, _ = store.put_folder(model(tmp_path))

    assert uri == again
    assert folder_sha256(store.path(uri)) == sha256
    assert (store.path(uri) / "inner" / "b.txt").read_text() == "weights"


def test_other_content_is_another_artifact(store: ArtifactStore, tmp_path: Path):
    first, _ = store.put_folder(model(tmp_path))
    second, _ = store.put_folder(model(tmp_path, "other"))

    assert first != second
    assert (store.path(first) / "inner" / "b.txt").read_text() == "weights"


def test_a_damaged_copy_is_replaced_when_the_content_is_stored_again(
    store: ArtifactStore, tmp_path: Path
):
    uri, _ = store.put_folder(model(tmp_path))
    (store.path(uri) / "a.json").write_text("damaged")

    store.put_folder(model(tmp_path))

    assert (store.path(uri) / "a.json").read_text() == "{}"


@pytest.mark.parametrize(
    "uri", ["artifact://1/models/missing", "artifact://1/../secret", "/etc/passwd", "artifact://x"]
)
def test_what_is_not_in_the_store_is_refused(store: ArtifactStore, uri: str):
    with pytest.raises(ArtifactError):
        store.path(uri)


def test_a_failed_store_leaves_nothing_behind(store: ArtifactStore, tmp_path: Path):
    store.root.write_text("a file is in the way")

    with pytest.raises(ArtifactError, match="HEED_ARTIFACT_(CACHE_)?DIR"):
        store.put_folder(model(tmp_path))


def test_only_what_dead_processes_left_is_removed(store: ArtifactStore):
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


def test_a_workspace_is_gone_after_an_error(store: ArtifactStore):
    def fail() -> None:
        with store.workspace("run") as folder:
            (folder / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list((store.root / ".partial").iterdir()) == []


def test_a_removed_artifact_is_gone(store: ArtifactStore, tmp_path: Path):
    uri, _ = store.put_folder(model(tmp_path))
    other = store.put_file(tmp_path / "model" / "a.json", "models")

    store.remove(uri)
    store.remove(uri)

    assert not store.holds(uri)
    assert store.holds(other)
    with pytest.raises(MissingArtifact):
        store.path(uri)


def test_only_snapshots_are_listed_as_such(store: ArtifactStore, tmp_path: Path):
    (tmp_path / "data.jsonl").write_text("text\n")
    uri = store.put_file(tmp_path / "data.jsonl")
    store.put_file(tmp_path / "data.jsonl", "models")
    store.of_project(2).put_file(tmp_path / "data.jsonl")

    assert store.snapshots() == [uri]


def test_the_newest_checkpoint_is_the_last_one_that_was_kept(store: ArtifactStore, tmp_path: Path):
    for step in ("1", "2", "3"):
        store.keep_checkpoint("run", 1, model(tmp_path, step))

    found = store.newest_checkpoint("run")

    assert found is not None
    assert (found / "inner" / "b.txt").read_text() == "3"
    assert store.newest_checkpoint("another") is None


def test_a_later_attempt_fences_off_an_earlier_one(store: ArtifactStore, tmp_path: Path):
    store.keep_checkpoint("run", 1, model(tmp_path, "first"))
    store.keep_checkpoint("run", 2, model(tmp_path, "second"))

    with pytest.raises(RunInterrupted, match="Attempt 2"):
        store.keep_checkpoint("run", 1, model(tmp_path, "late"))

    found = store.newest_checkpoint("run")
    assert found is not None
    assert (found / "inner" / "b.txt").read_text() == "second"


def test_removed_checkpoints_are_gone(store: ArtifactStore, tmp_path: Path):
    store.keep_checkpoint("run", 1, model(tmp_path))
    store.keep_checkpoint("other", 1, model(tmp_path))
    assert store.newest_checkpoint("run")

    store.remove_checkpoints("run")
    store.remove_checkpoints("run")

    assert store.newest_checkpoint("run") is None
    assert store.runs_with_checkpoints() == ["other"]


def test_a_checkpoint_that_could_leave_its_folder_is_refused(store: ArtifactStore, tmp_path: Path):
    with pytest.raises(ArtifactError, match="id of a training run"):
        store.keep_checkpoint("../run", 1, model(tmp_path))


def test_a_store_that_works_has_nothing_to_remark(store: ArtifactStore):
    assert store.check() == []


def test_a_folder_needs_no_library_of_buckets(tmp_path: Path):
    code = (
        "import sys, pathlib, shared.artifacts; from shared.artifacts import open_store; "
        "from shared.config import Settings; "
        "store = open_store(Settings(data_dir=pathlib.Path(sys.argv[1]))); "
        "store.put_file(pathlib.Path(shared.artifacts.__file__)); print('obstore' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)

    assert said.stdout.decode().strip() == "False"


def test_without_a_url_artifacts_lie_in_the_folder(tmp_path: Path):
    store = open_store(Settings(data_dir=tmp_path), project_id=3)

    assert store.place == str(tmp_path / "artifacts")
    assert store.project_id == 3
