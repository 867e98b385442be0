"""Artifacts in a bucket, as the commands see them."""

import asyncio
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from heed_cli.doctor import _artifacts
from heed_cli.stored import fetch_all, missing_artifacts, send_all
from shared.artifacts import FolderStore
from shared.config import Settings
from shared.db.tables import Dataset
from tests.support.s3 import Place


def a_dataset(uri: str, project_id: int = 1) -> Dataset:
    return Dataset(
        name="one", sha256=uri[-70:-6], uri=uri, rows=1, counts={}, project_id=project_id
    )


def test_a_backup_beside_a_folder_is_restored_into_a_bucket(heed, other, s3: Place, tmp_path):
    heed.done("migrate")
    (heed.home / "snapshot.jsonl").write_text("a line\n")
    uri = FolderStore(heed.data_dir / "artifacts").put_file(heed.home / "snapshot.jsonl")
    heed.done("backup", heed.home / "backup.tar")

    other.done("restore", heed.home / "backup.tar", **s3.environment)
    said = other.done("backup", other.home / "again.tar", **s3.environment)

    assert s3.store(tmp_path).path(uri).read_text() == "a line\n"
    assert not (other.data_dir / "artifacts").exists()
    assert f"not in this file but in {s3.address.url}; all are there" in said
    assert b"a line" not in (other.home / "again.tar").read_bytes()


async def test_artifacts_move_to_a_bucket_and_back(
    s3: Place, tmp_path: Path, database_url: str, sessions: async_sessionmaker[AsyncSession]
):
    folder, store = FolderStore(tmp_path / "folder"), s3.store(tmp_path / "copies")
    (tmp_path / "snapshot.jsonl").write_text("a line\n")
    uris = [folder.of_project(project).put_file(tmp_path / "snapshot.jsonl") for project in (1, 2)]
    async with sessions.begin() as session:
        session.add_all([a_dataset(uris[0], 1), a_dataset(uris[1], 2)])

    before = await asyncio.to_thread(missing_artifacts, database_url, store)
    sent = send_all(folder.root, store)
    after = await asyncio.to_thread(missing_artifacts, database_url, store)
    back = FolderStore(tmp_path / "back")
    await asyncio.to_thread(fetch_all, database_url, store, back.root)

    assert (before, after, sent) == (uris, [], 2)
    assert [back.path(uri).read_text() for uri in uris] == ["a line\n"] * 2


def test_doctor_tries_the_bucket(s3: Place, tmp_path: Path):
    settings = Settings(data_dir=tmp_path, **s3.settings)
    wrong = settings.model_copy(update={"artifact_url": "s3://heed-no-such-bucket"})

    assert not _artifacts(settings).remedy
    assert "There is no bucket heed-no-such-bucket" in _artifacts(wrong).remedy
    assert s3.bucket().sizes("probes") == {}


def test_doctor_remarks_that_a_bucket_keeps_what_was_deleted(s3: Place, tmp_path: Path):
    s3.keep_versions()

    found = _artifacts(Settings(data_dir=tmp_path, **s3.settings))

    assert "keeps old versions" in found.found
    assert not found.is_fatal
