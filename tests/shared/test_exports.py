"""Kept exports are found by the rows they hold."""

import subprocess
import sys

import pytest

from shared.exports import (
    exports_folder,
    exports_holding,
    is_kept,
    keep_copy,
    keep_export,
    remove_export,
)

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


def test_a_file_made_of_a_kept_export_is_found_with_it(tmp_path):
    folder = exports_folder(tmp_path)
    keep_export(tmp_path, folder / "a.jsonl", [1], interactions=["x"])
    (folder / ".b.csv.new").write_text("killed while it was written")

    is_found = keep_copy(tmp_path, folder / "b.csv", folder / "a.jsonl")

    assert is_found
    assert exports_holding(tmp_path, [1]) == [folder / "a.jsonl", folder / "b.csv"]
    assert exports_holding(tmp_path, [], interactions=["x"]) == [
        folder / "a.jsonl", folder / "b.csv",
    ]  # fmt: skip
    remove_export(folder / "b.csv")
    assert {left.name for left in folder.iterdir()} == {".lock", "a.jsonl.rows.json"}


def test_nobody_knows_what_is_in_a_copy_of_something_else(tmp_path):
    folder = exports_folder(tmp_path)
    keep_export(tmp_path, folder / "a.jsonl", [1])

    assert not keep_copy(tmp_path, folder / "b.jsonl", folder / "unknown.jsonl")
    assert not keep_copy(tmp_path, folder / "b.jsonl", tmp_path / "mine.jsonl")
    assert not keep_copy(tmp_path, tmp_path / "mine.jsonl", folder / "a.jsonl")


def test_a_list_that_was_not_finished_stops_no_erasure(tmp_path):
    folder = exports_folder(tmp_path)
    keep_export(tmp_path, folder / "a.jsonl", [1])
    (folder / "a.jsonl.rows.json").rename(folder / ".b.jsonl.rows.json.new")
    (folder / ".b.jsonl.rows.json.new").write_text("")

    assert exports_holding(tmp_path, [1]) == []


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
