"""Kept exports are found by the rows they hold."""

import subprocess
import sys

import pytest

from shared.exports import exports_folder, exports_holding, is_kept, keep_export, remove_export

EXPORTER = """
import sys
from pathlib import Path
from heed_cli.exchange.writing import finish, lines_beside
with lines_beside(Path(sys.argv[1])) as (writer, lines):
    writer.add({"prompt": "Is rain wet?"})
    writer.flush()
    finish(lines, writer.columns, Path(sys.argv[1]))
    print("written", flush=True)
    sys.stdin.read()
"""


def test_an_export_is_found_by_any_of_its_rows(tmp_path):
    folder = exports_folder(tmp_path)
    for name, seqs in (("a.jsonl", [3, 1]), ("b.csv", [2])):
        (folder / name).touch()
        keep_export(tmp_path, folder / name, seqs)
    keep_export(tmp_path, folder / "c.json", [], interactions=["x"])

    assert exports_holding(tmp_path, [1, 9]) == [folder / "a.jsonl"]
    assert exports_holding(tmp_path, [9], interactions=["x"]) == [folder / "c.json"]
    assert exports_holding(tmp_path, [4]) == []


def test_a_removed_export_is_found_no_more(tmp_path):
    path = exports_folder(tmp_path) / "a.jsonl"
    path.touch()
    keep_export(tmp_path, path, [1])

    remove_export(path)
    remove_export(path)

    assert exports_holding(tmp_path, [1]) == []
    assert {left.name for left in path.parent.iterdir()} == {".lock"}


def test_an_erasure_removes_what_a_killed_export_has_left_and_no_running_one(tmp_path):
    folder = exports_folder(tmp_path)
    command = [sys.executable, "-c", EXPORTER, str(folder / "a.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as exporter:
        assert exporter.stdout.readline() == b"written\n"
        exports_holding(tmp_path, [1])
        while_running = sorted(left.suffix for left in folder.glob(".a.csv*"))

        exporter.kill()
        exporter.wait()
    exports_holding(tmp_path, [1])

    assert while_running == [".ready", ".rows"]
    assert {left.name for left in folder.iterdir()} == {".lock"}


def test_without_exports_nothing_is_made(tmp_path):
    assert exports_holding(tmp_path, [1]) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_elsewhere_is_not_kept(tmp_path):
    assert not is_kept(tmp_path, tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="not in the folder"):
        keep_export(tmp_path, tmp_path / "a.jsonl", [1])
