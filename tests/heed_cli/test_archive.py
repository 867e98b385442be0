"""A backup file is whole, or it is refused."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from heed_cli.archive import new_archive, unpack
from shared.errors import ConfigError, InvalidInput


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "one").write_bytes(b"first" * 1000)
    (tmp_path / "two").write_bytes(b"")
    with new_archive(tmp_path / "backup.tar") as writer:
        writer.add(tmp_path / "one", "folder/one")
        writer.add(tmp_path / "two", "two")
        writer.finish({"made_at": "now"})
    return tmp_path / "backup.tar"


def test_what_was_put_in_comes_out(archive, tmp_path):
    facts = unpack(archive, tmp_path / "out")

    assert facts["made_at"] == "now"
    assert (tmp_path / "out/folder/one").read_bytes() == b"first" * 1000
    assert (tmp_path / "out/two").read_bytes() == b""
    assert archive.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", [0, 100, 512, 3000, 6000])
def test_a_backup_that_was_cut_off_is_refused(archive, tmp_path, kept):
    archive.write_bytes(archive.read_bytes()[:kept])

    with pytest.raises(InvalidInput, match="not a whole backup"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("at", [5, 600, 1000, 5500])
def test_a_single_changed_byte_is_noticed(archive, tmp_path, at):
    content = bytearray(archive.read_bytes())
    content[at] ^= 1
    archive.write_bytes(content)

    with pytest.raises(InvalidInput, match="not a whole backup"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        for member, content in ((name, b"x"), ("manifest.json", b"{}")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

    with pytest.raises(InvalidInput, match="not a whole backup"):
        unpack(tmp_path / "backup.tar", tmp_path / "in" / "out")
    assert [path.name for path in tmp_path.rglob("outside")] == []


def test_an_unlisted_member_is_noticed(archive, tmp_path):
    (tmp_path / "three").write_bytes(b"x")
    with tarfile.open(archive, "a") as tar:
        tar.add(tmp_path / "three", "three")

    with pytest.raises(InvalidInput, match="differs from its hashes"):
        unpack(archive, tmp_path / "out")


def test_a_failure_leaves_no_file_behind(tmp_path):
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        new_archive(tmp_path / "b.tar") as a,
    ):
        a.add(tmp_path / "missing", "missing")

    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_another_format_is_refused(archive, tmp_path):
    with tarfile.open(archive, "w") as tar:
        manifest = json.dumps({"format": 99, "files": {}}).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(manifest)
        tar.addfile(info, io.BytesIO(manifest))

    with pytest.raises(InvalidInput):
        unpack(archive, tmp_path / "out")
