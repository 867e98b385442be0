"""Kept exports are found by the rows they hold."""

import pytest

from shared.exports import exports_folder, exports_holding, is_kept, keep_export, remove_export


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


def test_without_exports_nothing_is_made(tmp_path):
    assert exports_holding(tmp_path, [1]) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_elsewhere_is_not_kept(tmp_path):
    assert not is_kept(tmp_path, tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match="not in the folder"):
        keep_export(tmp_path, tmp_path / "a.jsonl", [1])
