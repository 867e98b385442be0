"""Rows of every format come back as they were, and other formats can be made of the same rows."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

ASK = "\n\nHuman: Is rain wet?\n\nAssistant:"
TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Is rain wet?"},
    {"role": "assistant", "content": "Why do you ask?"},
    {"role": "user", "content": "I wonder."},
]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def prediction_row(**more: Any) -> dict[str, Any]:
    return {
        "question": "Where is the key?",
        "passages": [["Keys", "The key hangs in the hall."], ["Halls", "It is by the door."]],
        "gold": "In the hall by the door.",
        "prediction 1": "In the hall, they say.",
        "prediction 2": "In the kitchen.",
        "prediction 3": "By the door.",
        "prediction 4": "Nobody knows.",
        "preference": [1, 2, 0, 2, 1, 1],
        "feedback": {
            "errors": [
                {"error type": "Irrelevant", "explanation": "hearsay", "start": 13, "end": 21},
                {"error type": "Incoherent", "explanation": "", "start": 0, "end": 2},
            ],
            "missing-info": [{"error type": "Missing-Minor", "passage_id": 1, "sentence_id": [0]}],
            "corrected-prediction": "In the hall by the door.",
        },
        **more,
    }


def comparison(**more: Any) -> dict[str, Any]:
    return {
        "instruction": "Add the numbers.\n\nShow your work.",
        "input": "2 and 2\n\nand 3",
        "response1": "7",
        "response2": "About 8.",
        "annotator1": 1,
        "annotator2": 2,
        "annotator3": 0,
        **more,
    }


ROWS: dict[str, list[dict[str, Any]]] = {
    "hh-rlhf": [
        {"chosen": f"{ASK} Yes.", "rejected": f"{ASK} No."},
        {"chosen": f"{ASK} Yes.", "rejected": f"{ASK} No."},  # the same once more
        {"chosen": f"{ASK}", "rejected": f"{ASK}  No.  "},
        {"chosen": f"{ASK} A.\n\nHuman: B?\n\nAssistant: C.", "rejected": f"{ASK} D."},
        {"chosen": f"{ASK} Yes\u2028.", "rejected": f"{ASK} No\U0001f327.", "split": "test"},
        {"chosen": f"{ASK} Yes.", "rejected": f"{ASK} No.", "tags": ["a"], "note": "n" * 80},
    ],
    "comparisons": [
        comparison(idx=7, app="sums"),
        comparison(input=""),
        comparison(input=""),
        comparison(response1=True, response2=4.5),
        {"prompt": "p", "response1": "a", "response2": "a", "annotator1": 2, "annotator12": 1},
    ],
    "qa-feedback": [
        prediction_row(),
        prediction_row(id=3),
        prediction_row(feedback=prediction_row()["feedback"] | {"errors": []}),
    ],
    "trl-preference": [
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "score": 2.5},
    ],
    "trl-unpaired": [
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        {"prompt": "The sky is", "completion": " green.", "label": False, "id": 9},
    ],
    "trl-prompt-only": [{"prompt": "The sky is"}, {"prompt": "The sky is", "tags": ["x"]}],
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.name.removesuffix(".gz").endswith(".json"):
        return list(json.loads(raw))
    return [json.loads(line) for line in raw.splitlines()]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz"])
@pytest.mark.parametrize("format_name", ROWS)
async def test_rows_come_back_as_they_were(place, tmp_path, format_name, suffix):
    rows = ROWS[format_name]
    file = write(tmp_path / f"rows{suffix}", rows)

    tally = await place.take_in(format_name, file)
    await place.give_out(format_name, tmp_path / f"back{suffix}")

    assert (tally.rows, tally.stored, tally.refused) == (len(rows), len(rows), 0)
    assert read(tmp_path / f"back{suffix}") == rows


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "trl-preference": [
        {"prompt": TALK, "chosen": said("So do I."), "rejected": said("No.")},
        {"prompt": TALK[1:2], "chosen": said("Yes."), "rejected": said("Human: no")},
        {"prompt": [{"role": "tool", "content": "3"}], "chosen": said("a"), "rejected": TALK[2:]},
    ],
    "trl-unpaired": [
        {"prompt": TALK, "completion": said("So do I."), "label": True},
        {"prompt": TALK[:2], "completion": [*said("a"), *said("b")], "label": False},
    ],
    "trl-prompt-only": [{"prompt": TALK}, {"prompt": [{"role": "user", "content": "Human: x"}]}],
}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("format_name", CONVERSATIONS)
async def test_conversations_come_back_as_conversations(place, tmp_path, format_name, suffix):
    rows = CONVERSATIONS[format_name]
    tally = await place.take_in(format_name, write(tmp_path / "talk.jsonl", rows))
    await place.give_out(format_name, tmp_path / f"back{suffix}", conversational=True)

    assert tally.refused == 0
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        assert parquet.read_table(tmp_path / "back.parquet").to_pylist() == rows
    else:
        assert read(tmp_path / "back.jsonl") == rows


async def test_parquet_goes_in_and_comes_out(place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    rows = [{"prompt": "p", "completion": f"r{n}", "label": n % 2 == 0, "n": n} for n in range(9)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")

    await place.take_in("trl-unpaired", tmp_path / "rows.parquet")
    await place.give_out("trl-unpaired", tmp_path / "back.parquet")

    assert parquet.read_table(tmp_path / "back.parquet").to_pylist() == rows


async def test_an_implicit_prompt_is_what_both_responses_begin_with(place, tmp_path):
    talks = {"chosen": [*TALK, *said("Yes.")], "rejected": [*TALK, *said("No.")]}
    texts = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    await place.take_in("trl-preference", write(tmp_path / "implicit.jsonl", [talks, texts]))
    await place.give_out("trl-preference", tmp_path / "back.jsonl")

    first, second = read(tmp_path / "back.jsonl")

    assert (first["chosen"], first["rejected"]) == ("Yes.", "No.")
    assert first["prompt"].startswith("System: Be short.\n\nHuman: Is rain wet?")
    assert second == {"prompt": "The sky is", "chosen": " blue.", "rejected": " black."}


CSV = (
    "prompt,response,rating,human_rating,thumbs,comment,corrected_response,agent_name,region\n"
    '"Is rain, ""wet""?","Yes.\nVery.",5,,,good,,weather,north\n'
    "Is rain wet?,No.,,0.25,,,Yes.,weather,\n"
    "Is rain wet?,No.,,,down,,,,south\n"
)


async def test_a_table_of_ratings_comes_back_with_its_own_columns(place, tmp_path):
    import csv

    (tmp_path / "rows.csv").write_text(CSV)

    tally = await place.take_in("csv", tmp_path / "rows.csv")
    await place.give_out("csv", tmp_path / "back.csv")

    given = list(csv.DictReader(CSV.splitlines(keepends=True)))
    with (tmp_path / "back.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    assert (tally.stored, tally.refused) == (3, 0)
    assert [{name: row[name] for name in given[0]} for row in back] == given
    assert {row["session_id"] for row in back} == {""}


async def test_a_table_of_pairs_comes_back_with_its_own_columns(place, tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": "good", "rejected": "bad", "n": n} for n in range(20)]

    await place.take_in("csv", write(tmp_path / "pairs.jsonl", rows))
    await place.give_out("csv-pairs", tmp_path / "back.jsonl")

    back = read(tmp_path / "back.jsonl")
    assert [{name: row[name] for name in rows[0]} for row in back] == rows


async def test_a_person_in_a_table_is_exported_under_a_pseudonym(place, tmp_path):
    row = {"prompt": "p", "response": "r", "rating": 3, "rater_id": "jane@clinic.example"}
    await place.take_in("csv", write(tmp_path / "rows.jsonl", [row]))

    await place.give_out("csv", tmp_path / "back.jsonl")

    [back] = read(tmp_path / "back.jsonl")
    assert back["rater_id"]
    assert "jane" not in (tmp_path / "back.jsonl").read_text()


@pytest.mark.parametrize(
    ("format_name", "expected"),
    [
        ("trl-preference", {"prompt": "Human: Is rain wet?", "chosen": "Yes.", "rejected": "No."}),
        ("trl-prompt-only", {"prompt": "Human: Is rain wet?"}),
        (
            "comparisons",
            {
                "instruction": "Human: Is rain wet?",
                "input": "",
                "response1": "No.",
                "response2": "Yes.",
                "annotator1": 2,
            },
        ),
    ],
)
async def test_dialogues_can_be_written_in_other_formats(place, tmp_path, format_name, expected):
    await place.take_in("hh-rlhf", write(tmp_path / "hh.jsonl", ROWS["hh-rlhf"][:1]))

    await place.give_out(format_name, tmp_path / "other.jsonl")

    assert read(tmp_path / "other.jsonl") == [expected]


async def test_a_prompt_without_turns_becomes_a_dialogue(place, tmp_path):
    rows = [{"prompt": "Is rain wet?", "chosen": "Yes.", "rejected": "No."}]
    await place.take_in("csv", write(tmp_path / "pairs.jsonl", rows))

    await place.give_out("hh-rlhf", tmp_path / "hh.jsonl")

    assert read(tmp_path / "hh.jsonl") == [{"chosen": f"{ASK} Yes.", "rejected": f"{ASK} No."}]


async def test_stars_become_labels_and_three_stars_none(place, tmp_path):
    rows = [{"prompt": "p", "response": f"r{n}", "rating": n} for n in range(1, 6)]
    await place.take_in("csv", write(tmp_path / "stars.jsonl", rows))

    await place.give_out("trl-unpaired", tmp_path / "kto.jsonl")

    labels = {row["completion"]: row["label"] for row in read(tmp_path / "kto.jsonl")}
    assert labels == {"r1": False, "r2": False, "r4": True, "r5": True}
