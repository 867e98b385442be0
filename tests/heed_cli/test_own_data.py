"""A person's own file becomes posts; what is wrong with it is named by line and column."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from heed_cli.demo.own_data import read_posts
from heed_cli.demo.posts import hold_back
from shared.errors import InvalidInput, NotEnoughData


def write_lines(path: Path, *rows: object) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_stars_become_feedback(tmp_path):
    row = {"prompt": "p", "response": "r", "rating": 4, "rater_id": 7, "ignored": "x"}

    [post], _ = read_posts(write_lines(tmp_path / "own.jsonl.gz", row))

    assert post.kind == "feedback"
    assert post.body == {"prompt": "p", "response": "r", "rating": 4, "rater_id": "7"}
    assert post.place == "own.jsonl.gz, line 1"


def test_a_column_human_rating_holds_shares(tmp_path):
    row = {"prompt": "p", "response": "r", "human_rating": 0.7}

    [post], _ = read_posts(write_lines(tmp_path / "own.jsonl", row))

    assert post.body["human_rating"] == 0.7


def test_csv_is_read_with_quoted_line_breaks_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "own.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerows([["prompt", "response", "rating"], ["p", 'two\n"lines"', "5"]])

    [post], _ = read_posts(path)

    assert post.body == {"prompt": "p", "response": 'two\n"lines"', "rating": 5}
    assert post.place == "own.csv, line 3"


def test_parquet_is_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"prompt": ["p", "q"], "chosen": ["good", "fine"], "rejected": ["bad", "poor"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "own.parquet")

    posts, _ = read_posts(tmp_path / "own.parquet")

    assert [post.place for post in posts] == ["own.parquet, row 1", "own.parquet, row 2"]
    assert {posts[0].body["response_a"], posts[0].body["response_b"]} == {"good", "bad"}


def test_the_chosen_response_is_the_preferred_one_on_either_side(tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": "good", "rejected": "bad"} for n in range(40)]

    posts, _ = read_posts(write_lines(tmp_path / "own.jsonl", *rows))

    assert {post.body["preferred"] for post in posts} == {"a", "b"}
    assert {post.body[f"response_{post.body['preferred']}"] for post in posts} == {"good"}


def test_dialogues_are_split_at_the_last_turn_of_the_assistant(tmp_path):
    before = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: how?"
    row = {"chosen": before + "\n\nAssistant: like so", "rejected": before + "\n\nAssistant: no"}

    [post], _ = read_posts(write_lines(tmp_path / "own.jsonl", row))

    assert post.body["prompt"] == before.strip()
    assert {post.body["response_a"], post.body["response_b"]} == {"like so", "no"}


def test_rows_that_compare_nothing_are_left_out_and_counted(tmp_path):
    ask, other = "\n\nHuman: a?\n\nAssistant:", "\n\nHuman: b?\n\nAssistant:"
    rows = [
        {"chosen": ask + " x", "rejected": other + " y"},
        {"chosen": ask + " x", "rejected": ask + " x"},
        {"chosen": ask + " x", "rejected": ask},
        {"chosen": ask + " x", "rejected": ask + " y"},
    ]

    [post], left_out = read_posts(write_lines(tmp_path / "own.jsonl", *rows))

    assert post.place == "own.jsonl, line 4"
    assert left_out == 3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "secret", "response": "r", "rating": 7}, "column `rating` is 7, but stars"),
        ({"prompt": "secret", "response": "r", "rating": 0.7}, "`human_rating`"),
        ({"prompt": "secret", "response": "r", "rating": True}, "column `rating` is not a number"),
        ({"prompt": "secret", "response": "r", "rating": None}, "column `rating` is not a number"),
        ({"prompt": None, "response": "secret", "rating": 1}, "column `prompt` is missing"),
        ({"prompt": "secret", "response": ["r"], "rating": 1}, "column `response` is not text"),
    ],
)
def test_a_wrong_value_is_named_by_line_and_column_and_no_text_is_repeated(tmp_path, row, said):
    right = {"prompt": "p", "response": "r", "rating": 1, "human_rating": ""}

    with pytest.raises(InvalidInput) as caught:
        read_posts(write_lines(tmp_path / "own.jsonl", right, row))

    assert caught.value.detail.startswith("own.jsonl, line 2: The column ")
    assert said in caught.value.detail
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("own.jsonl", b'{"prompt": 1}\n{', "own.jsonl, line 1: columns prompt. Expected"),
        ("own.jsonl", b"[]", "own.jsonl, line 1: This is not one JSON object"),
        ("own.jsonl", b'{"a": 1}\n\n\xff', "own.jsonl, line 1: columns a. Expected prompt"),
        ("own.jsonl", b"\xff\n", "own.jsonl, line 1: This is not UTF-8"),
        ("own.jsonl", b"", "has no rows"),
        (
            "own.csv",
            b"prompt,response,rating\na,b,3\nc,d\n",
            "own.csv, line 3: There are fewer fields",
        ),
        ("own.csv", b"prompt,response,rating\na,b,3,4\n", "own.csv, line 2: There are more fields"),
        ("own.csv", b'prompt,response,rating\n"a', "The quotes of this line do not fit"),
        ("own.jsonl.gz", b"not gzip", "cannot be read"),
        ("own.parquet", b"not parquet", "is not a Parquet file"),
        ("own.xlsx", b"", "is none of .jsonl, .json, .csv"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        read_posts(path)


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        read_posts(tmp_path / "nowhere.jsonl")


def test_a_part_is_held_back_and_no_post_is_lost_or_doubled(tmp_path):
    rows = [{"prompt": f"p{n}", "response": "r", "rating": 3} for n in range(100)]
    posts, _ = read_posts(write_lines(tmp_path / "own.jsonl", *rows))

    first, later = hold_back(posts)

    assert (len(first), len(later)) == (70, 30)
    assert {post.place for post in first + later} == {post.place for post in posts}


def test_too_few_rows_are_refused(tmp_path):
    rows = [{"prompt": f"p{n}", "response": "r", "rating": 3} for n in range(79)]
    posts, _ = read_posts(write_lines(tmp_path / "own.jsonl", *rows))

    with pytest.raises(NotEnoughData, match="79 usable rows"):
        hold_back(posts)
