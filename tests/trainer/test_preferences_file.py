"""Preferences files: written by Heed, read by Heed and by Hugging Face datasets."""

import json
from pathlib import Path

import pytest

from services.trainer import prepare_preference_dataset
from services.trainer.prepare import evidence_of_file, export_preferences
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.splits import group_by_secret
from shared.contracts.values import Side
from shared.errors import ConfigError, InvalidInput, LeakingDataset

LINE = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def write(path: Path, *lines: object) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


async def test_a_frozen_dataset_opens_as_a_dataset_dict_with_train_and_test(
    sessions, freezing, insert, polite, tmp_path: Path
):
    await insert(*polite(30))
    async with sessions.begin() as session:
        dataset = await freeze_feedback(session, freezing)
    written = export_preferences(load_dataset(dataset, freezing.store), tmp_path / "a" / "p.jsonl")

    opened = prepare_preference_dataset(tmp_path / "a" / "p.jsonl")

    assert written == 30
    assert {side: opened[side].num_rows for side in opened} == {"train": 24, "test": 6}
    row = opened["test"][0]
    assert set(row) == {"prompt", "chosen", "rejected", "metadata"}
    assert row["chosen"].startswith("Gladly")
    assert row["metadata"]["source"] == "preference"
    assert opened["train"].features == opened["test"].features


def test_a_file_without_splits_is_split_by_prompt_the_same_way_every_time(tmp_path: Path):
    lines = [LINE | {"prompt": f"Why {at // 2}?"} for at in range(40)]
    path = write(tmp_path / "own.jsonl", *lines)

    first, second = prepare_preference_dataset(path), prepare_preference_dataset(path)

    assert (first["train"].num_rows, first["test"].num_rows) == (32, 8)
    assert set(first["train"]["prompt"]) & set(first["test"]["prompt"]) == set()
    assert first["test"]["prompt"] == second["test"]["prompt"]


def test_lines_keep_their_split_where_others_have_none(tmp_path: Path):
    lines = [LINE | {"prompt": f"Why {at}?"} for at in range(20)]
    lines[3]["split"], lines[4]["split"] = "test", "train"

    opened = prepare_preference_dataset(write(tmp_path / "own.jsonl", *lines))

    assert "Why 3?" in opened["test"]["prompt"]
    assert "Why 4?" in opened["train"]["prompt"]
    assert (opened["train"].num_rows, opened["test"].num_rows) == (16, 4)


def test_a_file_with_near_duplicates_on_both_sides_does_not_open(tmp_path: Path):
    question = "How do I renew my passport while I am travelling in Portugal?"
    twin = question.replace("while ", "")
    path = write(
        tmp_path / "own.jsonl",
        LINE | {"prompt": question, "split": "train"},
        LINE | {"prompt": twin, "split": "test"},
    )

    with pytest.raises(LeakingDataset, match="1 held-out prompts"):
        prepare_preference_dataset(path)


def test_rows_of_a_file_are_named_by_their_line_and_reported_under_agent_and_task(tmp_path: Path):
    known = {"metadata": {"agent": "mild", "task": None, "weight": 0.5}}
    path = write(tmp_path / "own.jsonl", LINE, "", "  ", LINE | {"prompt": "How?"} | known)

    evidence, _ = evidence_of_file(path, group_by_secret(b"secret", 1))

    assert [pair.row_ids for pair in evidence.pairs] == [("line:1",), ("line:4",)]
    assert [pair.slices for pair in evidence.pairs] == [{}, {"agent": "mild"}]
    assert evidence.pairs[1].weight == 0.5


def test_metadata_of_other_tools_is_kept_as_text(tmp_path: Path):
    path = write(tmp_path / "own.jsonl", *[LINE | {"metadata": {"ours": [1]}}] * 2)

    assert prepare_preference_dataset(path)["train"]["metadata"][0] == '{"ours":[1]}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "Line 2: the JSON is wrong"),
        ({"prompt": "Why?", "chosen": "x"}, "Line 2: rejected is wrong"),
        (LINE | {"prompt": 7}, "Line 2: prompt is wrong"),
        (LINE | {"split": "dev"}, "Line 2: split is wrong"),
    ],
)
def test_a_wrong_line_is_named_with_its_column(tmp_path: Path, line: object, message: str):
    path = write(tmp_path / "own.jsonl", LINE, line)

    with pytest.raises(InvalidInput, match=message):
        prepare_preference_dataset(path)


def test_an_empty_missing_or_binary_file_is_explained(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    write(tmp_path / "empty")

    for name in ("binary", "empty", "missing"):
        with pytest.raises(InvalidInput, match=name):
            prepare_preference_dataset(tmp_path / name)


def test_a_prompt_that_a_file_has_on_both_sides_is_held_out(tmp_path: Path):
    path = write(tmp_path / "own.jsonl", LINE | {"split": "test"}, LINE | {"split": "train"})
    group_of = group_by_secret(b"secret", 1)

    evidence, sides = evidence_of_file(path, group_of)

    assert sides == {group_of("why?"): Side.TEST}
    assert len(evidence.pairs) == 2


def test_a_file_that_holds_nothing_out_names_no_sides(tmp_path: Path):
    path = write(tmp_path / "own.jsonl", LINE | {"split": "train"})

    assert evidence_of_file(path, group_by_secret(b"secret", 1))[1] == {}


async def test_a_file_that_cannot_be_written_is_explained(
    sessions, freezing, insert, polite, tmp_path: Path
):
    await insert(*polite(2))
    async with sessions.begin() as session:
        dataset = load_dataset(await freeze_feedback(session, freezing), freezing.store)
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match="--output"):
        export_preferences(dataset, tmp_path / "file" / "p.jsonl")
