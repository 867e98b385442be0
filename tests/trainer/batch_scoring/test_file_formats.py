"""Rows come out as they went in, whatever the format, and every one of them."""

import csv
import gzip
import io
import json
import math
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow
import pytest
from pyarrow import parquet

from services.trainer.batch_scoring.formats import format_of, open_source, scored_name
from services.trainer.batch_scoring.over_ray import ChunkFinder
from services.trainer.batch_scoring.rows import CHUNK_ROWS
from shared.errors import InvalidInput


def columns_of(path, delimiter=","):
    text = io.StringIO(path.read_bytes().decode(), newline="")
    return list(csv.DictReader(text, delimiter=delimiter))


def test_a_json_line_stays_as_it_stands(tmp_path, score):
    line = (
        '{ "prompt":"what is ü" , "n":1e400,"n":1.00000000000000000001,"response":"kind\\u00fc" }'
    )
    (tmp_path / "rows.jsonl").write_text(f"\ufeff{line}\r\n\r\n", encoding="utf-8")

    score(tmp_path / "rows.jsonl", tmp_path / "out.jsonl")

    [found] = (tmp_path / "out.jsonl").read_text().splitlines()
    assert found.startswith(line.removesuffix(" }") + ', "score": 0.')
    assert json.loads(found)["error"] is None


def test_csv_keeps_its_columns_and_quotes(tmp_path, score):
    rows = [["a,b", 'what "is"\nthe sky', "kind sea"], ["", "what", "=1+1"], ["x", "", ""]]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "prompt", "response"], *rows])

    score(tmp_path / "rows.csv", tmp_path / "out.csv", extras=("interval",))

    found = columns_of(tmp_path / "out.csv")
    assert [list(row.values())[:3] for row in found] == rows
    assert {row["truncated"] for row in found} == {"false"}
    assert json.loads(found[0]["interval"])["low"] <= float(found[0]["score"])


def test_damaged_csv_rows_are_kept_with_their_text(tmp_path, score):
    content = (
        b'prompt,response\nwhat,kind\nwhat,kind,more\nonly\nwhat,"kin"d\nwhat,\xff\nwhat,two\n'
    )
    (tmp_path / "rows.csv").write_bytes(content)

    tally = score(tmp_path / "rows.csv", tmp_path / "out.csv")

    found = columns_of(tmp_path / "out.csv")
    assert [row["line"] for row in found] == ["", "3", "4", "5", "6", ""]
    assert [row["unread"] for row in found] == [
        "", "what,kind,more", "only", 'what,"kin"d', "what,\\xff", "",
    ]  # fmt: skip
    assert [bool(row["error"]) for row in found] == [False, True, True, True, True, False]
    assert (tally.rows, tally.bad) == (6, 4)
    assert tally.faults[0] == (3, "more fields than the header has columns")


def test_parquet_keeps_its_types_and_gets_typed_results(tmp_path, score):
    table = pyarrow.table(
        {
            "prompt": ["what", "is", None],
            "response": ["kind", "rude", "sea"],
            "at": [datetime(2026, 1, 1, tzinfo=UTC), None, None],
            "price": [Decimal("1.10"), None, None],
            "tags": [["a"], [], None],
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")

    score(tmp_path / "rows.parquet", tmp_path / "out.parquet", extras=("interval", "steps"))

    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found.schema.field("score").type == pyarrow.float64()
    assert found["interval"][0].as_py().keys() == {"low", "expected", "high"}
    assert found["score"][2].as_py() is None
    assert found["error"].to_pylist() == [None, None, "`prompt` is missing"]


def test_two_parquet_columns_of_one_name_are_refused(tmp_path, score):
    table = pyarrow.Table.from_arrays([["what"], ["kind"], ["sea"]], ["prompt", *["response"] * 2])
    parquet.write_table(table, tmp_path / "rows.parquet")

    with pytest.raises(InvalidInput, match="have the same name"):
        score(tmp_path / "rows.parquet", tmp_path / "out.parquet")


def test_row_groups_are_read_one_after_the_other_and_only_the_columns_in_need(tmp_path):
    rows = CHUNK_ROWS + 10
    table = pyarrow.table({"prompt": ["what"] * rows, "id": list(range(rows))})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=CHUNK_ROWS + 5)
    source = open_source(tmp_path / "rows.parquet", "parquet")

    chunks = list(source.chunks())
    [*_, last] = source.chunks(chunks[2].span.start, only=["prompt"])

    assert [len(chunk.rows) for chunk in chunks] == [CHUNK_ROWS, 5, 5]
    assert [chunk.rows[-1].number for chunk in chunks] == [CHUNK_ROWS, rows - 5, rows]
    assert [chunk.span.start for chunk in chunks[1:]] == [chunk.span.end for chunk in chunks[:-1]]
    assert last.span == chunks[2].span
    assert last.rows[0].values == {"prompt": "what"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv"])
def test_a_file_can_be_read_on_from_the_end_of_each_chunk(name, tmp_path, rows):
    lines = [json.dumps(row) for row in rows(2 * CHUNK_ROWS + 3)]
    if name.endswith(".csv"):
        lines = ["prompt,response", *(f'"wh\nat",kind {at}' for at in range(2 * CHUNK_ROWS + 3))]
    content = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    source = open_source(tmp_path / name, format_of(tmp_path / name))

    whole = list(source.chunks())

    assert [len(chunk.rows) for chunk in whole] == [CHUNK_ROWS, CHUNK_ROWS, 3]
    for at, chunk in enumerate(whole):
        assert [one.rows for one in source.chunks(chunk.span.end)] == [
            one.rows for one in whole[at + 1 :]
        ]


@pytest.mark.parametrize(("enters", "openings"), [(False, 2), (True, 4)])
def test_a_file_without_a_way_into_its_middle_is_read_on_by_each_machine(
    enters, openings, tmp_path, rows
):
    parquet.write_table(pyarrow.Table.from_pylist(rows(4 * CHUNK_ROWS)), tmp_path / "rows.parquet")
    source = open_source(tmp_path / "rows.parquet", "parquet")
    whole = list(source.chunks())
    opened = []

    class Counted:
        def chunks(self, start, only):
            opened.append(start)
            return source.chunks(start, only)

    finder = ChunkFinder(Counted(), ["prompt", "response"], enters=enters)
    found = [finder.at(whole[at].span.start) for at in (1, 2, 3, 0)]

    assert [chunk.rows[0].number for chunk in found] == [
        whole[at].rows[0].number for at in (1, 2, 3, 0)
    ]
    assert len(opened) == openings


def test_every_format_is_written_from_json_lines(tmp_path, rows, json_lines, score):
    lines = [{"n": 1} | row for row in rows(3)]
    lines[1] |= {"n": 2.5, "tags": ["a", {"b": None}], "flag": True}
    lines[2] |= {"n": None, "tags": "text", "big": 2**70}
    file = json_lines(lines)

    for name in ("out.parquet", "out.tsv", "out.jsonl.gz"):
        score(file, tmp_path / name)

    found = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["n"] for row in found] == [1.0, 2.5, None]
    assert [row["tags"] for row in found] == [None, '["a", {"b": null}]', "text"]
    assert [row["flag"] for row in found] == [None, True, None]
    assert found[2]["big"] == str(2**70)
    table = columns_of(tmp_path / "out.tsv", "\t")
    assert [row["tags"] for row in table] == ["", '["a", {"b": null}]', "text"]
    packed = gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["score"] for line in packed] == [row["score"] for row in found]
    assert all(math.isclose(float(row["score"]), one["score"])
               for row, one in zip(table, found, strict=True))  # fmt: skip


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_any_text_of_a_row_can_be_read_again(name, tmp_path, json_lines, score):
    texts = ["a\rb", "a\r\nb", 'a\n"b"', "\ud83d cut", "\x00"]
    pair = {"prompt": "what", "response": "kind"}

    score(json_lines([pair | {"note": text} for text in texts]), tmp_path / name)

    is_csv = name.endswith(".csv")
    path = tmp_path / name
    found = columns_of(path) if is_csv else parquet.read_table(path).to_pylist()
    assert [row["note"] for row in found] == [*texts[:3], "\\ud83d cut", texts[4]]
    assert not any(row["error"] for row in found)


def test_a_name_that_no_file_can_hold_makes_a_bad_row(tmp_path, json_lines, score):
    pair = {"prompt": "what", "response": "kind"}

    tally = score(json_lines([pair, pair | {"\ud800": 1}]), tmp_path / "out.csv")

    assert tally.faults == [(2, "the name of a column holds half of a surrogate pair")]


def test_no_whole_number_is_rounded_on_its_way_to_parquet(tmp_path, rows, json_lines, score):
    given = {"ids": [7, 2**53 + 1, 2**63 - 1], "mixed": [0.5, 2**53 + 1, 3], "real": [0.5, 1, 2]}
    lines = [row | {name: values[at] for name, values in given.items()}
             for at, row in enumerate(rows(3))]  # fmt: skip

    score(json_lines(lines), tmp_path / "out.parquet")

    found = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert found["ids"] == given["ids"]
    assert found["mixed"] == ["0.5", str(2**53 + 1), "3"]
    assert found["real"] == given["real"]


def test_json_says_null_where_a_number_is_none(tmp_path, score):
    columns = {"prompt": ["what"], "response": ["kind"], "n": [float("nan")], "in": [[math.inf]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")

    score(tmp_path / "rows.parquet", tmp_path / "out.jsonl")

    found = json.loads((tmp_path / "out.jsonl").read_text(), parse_constant=pytest.fail)
    assert (found["n"], found["in"]) == (None, [None])


def test_what_only_parquet_knows_becomes_text_in_json(tmp_path, score):
    table = pyarrow.table(
        {
            "prompt": ["what"],
            "response": ["kind"],
            "at": [datetime(2026, 1, 2, tzinfo=UTC)],
            "raw": [b"\x00"],
        }
    )
    parquet.write_table(table, tmp_path / "rows.parquet")

    score(tmp_path / "rows.parquet", tmp_path / "out.jsonl")

    found = json.loads((tmp_path / "out.jsonl").read_text())
    assert (found["at"], found["raw"]) == ("2026-01-02T00:00:00+00:00", "AA==")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("rows.jsonl", b"[\n{}]", "JSON array"),
        ("rows.jsonl", b"no\nno\n", "Row 1: not JSON"),
        ("rows.jsonl.gz", b"no", "cannot be read"),
        ("rows.parquet", b"no", "not a Parquet file"),
        ("rows.csv", b"a,a\n1,2\n", "does not name columns"),
        ("rows.csv", b"\xff,a\n1,2\n", "does not name columns"),
        ("rows.docx", b"", "say how it is written"),
        ("rows.parquet.gz", b"", "leave out .gz"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, score, name, content, told):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidInput, match=told):
        score(tmp_path / name, tmp_path / "out.jsonl")

    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv.gz"])
def test_who_may_not_read_the_file_may_not_read_it_scored(name, tmp_path, rows, json_lines, score):
    file = json_lines(rows(1))
    file.chmod(0o640)

    score(file, tmp_path / name)

    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_an_empty_file_gives_an_empty_file(tmp_path, score):
    (tmp_path / "rows.jsonl").touch()

    tally = score(tmp_path / "rows.jsonl", tmp_path / "out.jsonl")

    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert tally.rows == 0


def test_the_scored_file_is_named_after_the_file(tmp_path):
    names = ["a.jsonl", "a.b.csv.gz", "a.parquet"]

    assert [scored_name(tmp_path / name).name for name in names] == [
        "a.scored.jsonl", "a.b.scored.csv.gz", "a.scored.parquet",
    ]  # fmt: skip
    assert [scored_name(tmp_path / name, "csv").name for name in names] == [
        "a.scored.csv", "a.b.scored.csv.gz", "a.scored.csv",
    ]  # fmt: skip
