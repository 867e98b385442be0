"""A file that was begun is finished, and is then what it would have been without a break."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.batch_scoring.job import journal_of
from services.trainer.batch_scoring.journal import Journal
from services.trainer.batch_scoring.rows import CHUNK_ROWS, START, Mark, Span
from shared.errors import Conflict, InvalidInput
from shared.ml.scorer import Pair, Scores

SPAN = Span(START, Mark(10, 1), 1, 0.5)


class PowerFails(Exception):
    """What a test stops a scorer with."""


class Counting:
    """A real scorer that counts what it is asked, and stops after so many calls."""

    def __init__(self, scorer, stop_after: int = 1000) -> None:
        self._scorer = scorer
        self._left = stop_after
        self.manifest, self.engine = scorer.manifest, scorer.engine
        self.pairs = 0

    def score(self, pairs: Sequence[Pair], *, details: bool = False) -> Scores:
        if not self._left:
            raise PowerFails
        self._left -= 1
        self.pairs += len(pairs)
        return self._scorer.score(pairs, details=details)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv.gz"])
def test_a_broken_off_attempt_is_finished_byte_for_byte(name, tmp_path, distinct, score, model):
    score(distinct, tmp_path / f"undisturbed.{name}", workers=2)
    breaking = {"scorer": Counting(model.scorer, stop_after=2)}
    with pytest.raises(PowerFails):
        score(distinct, tmp_path / name, workers=1, by=breaking)
    assert not (tmp_path / name).exists()
    counting = Counting(model.scorer)

    score(distinct, tmp_path / name, workers=2, by={"scorer": counting})

    assert counting.pairs == 2 * CHUNK_ROWS
    assert (tmp_path / name).read_bytes() == (tmp_path / f"undisturbed.{name}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["rows.jsonl", name, f"undisturbed.{name}"]
    )


@pytest.fixture
def distinct(rows, json_lines):
    """Four chunks of which no pair comes twice."""
    each = enumerate(rows(4 * CHUNK_ROWS))
    return json_lines([{**row, "prompt": f"{row['prompt']} {at}"} for at, row in each])


def test_prompts_that_come_again_are_not_encoded_again(tmp_path, rows, json_lines, score, model):
    counting = Counting(model.scorer)

    score(json_lines(rows(30) * 2), tmp_path / "out.jsonl", by={"scorer": counting})

    assert counting.pairs == 30


@pytest.fixture
def begun(tmp_path, rows, json_lines, score, model):
    """A file of which two chunks are scored."""
    file = json_lines(rows(3 * CHUNK_ROWS))
    with pytest.raises(PowerFails):
        score(
            file,
            tmp_path / "out.jsonl",
            workers=1,
            by={"scorer": Counting(model.scorer, stop_after=2)},
        )
    return file


def test_a_changed_input_is_refused_and_can_be_scored_anew(begun, tmp_path, score):
    with begun.open("a") as file:
        file.write('{"prompt": "what", "response": "kind"}\n')

    with pytest.raises(Conflict, match="begun with another input.*--restart"):
        score(begun, tmp_path / "out.jsonl")
    tally = score(begun, tmp_path / "out.jsonl", restart=True)

    assert tally.rows == 3 * CHUNK_ROWS + 1


def test_another_model_or_command_is_refused(begun, tmp_path, score):
    with pytest.raises(Conflict, match="another command"):
        score(begun, tmp_path / "out.jsonl", extras=("raw",))
    with pytest.raises(Conflict, match="another model"):
        score(begun, tmp_path / "out.jsonl", by={"sha256": "0" * 64})


def test_a_finished_file_is_not_scored_again_by_accident(tmp_path, rows, json_lines, score):
    file = json_lines(rows(2))
    score(file, tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").stat().st_ino

    with pytest.raises(Conflict, match="is there already"):
        score(file, tmp_path / "out.jsonl")
    with pytest.raises(InvalidInput, match="is the file itself"):
        score(file, file)

    assert (tmp_path / "out.jsonl").stat().st_ino == before


def test_a_file_that_changes_while_it_is_scored_gives_no_output(
    tmp_path, rows, json_lines, score, model
):
    file = json_lines(rows(10))

    class Meddling(Counting):
        def score(self, pairs, *, details=False):
            os.utime(file, ns=(0, 0))
            return super().score(pairs, details=details)

    with pytest.raises(Conflict, match="was changed while it was scored"):
        score(file, tmp_path / "out.jsonl", by={"scorer": Meddling(model.scorer)})

    assert not (tmp_path / "out.jsonl").exists()


def test_a_stream_is_not_for_many_machines(rows, json_lines, score):
    with pytest.raises(InvalidInput, match="--ray needs a file"):
        score(json_lines(rows(1)), Path("-"), ray="local")


def test_a_place_that_cannot_be_written_is_one_clear_refusal(tmp_path, rows, json_lines, score):
    with pytest.raises(InvalidInput, match="name another --output"):
        score(json_lines(rows(1)), tmp_path / "nowhere" / "out.jsonl")


@pytest.mark.parametrize("cut", [1, 20])
def test_an_entry_that_was_cut_off_never_was(cut, tmp_path):
    path = tmp_path / "journal"
    with Journal(path, {"input": 1}) as journal:
        journal.append(SPAN, {"score": [0.25]})
        whole = path.stat().st_size
        journal.append(SPAN._replace(end=Mark(20, 2)), {"score": [0.5]})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)

    with Journal(path, {"input": 1}) as journal:
        done, size = replace(journal.done), path.stat().st_size
        journal.append(SPAN, {"score": [0.75]})
        found = [one["score"] for one in journal.results()]

    assert (done.mark, done.rows, size) == (Mark(10, 1), 1, whole)
    assert found == [[0.25], [0.75]]


def test_a_first_line_that_was_cut_off_never_was(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b'12345678 {"schema_ver')

    with Journal(path, {"input": 1}) as journal:
        journal.append(SPAN, {"score": [0.25]})
        found = [one["score"] for one in journal.results()]
    with Journal(path, {"input": 1}) as journal:
        kept = journal.done.chunks

    assert (found, kept) == ([[0.25]], 1)


def test_results_that_went_meanwhile_are_missed(tmp_path):
    path = tmp_path / "journal"
    with Journal(path, {"input": 1}) as journal:
        journal.append(SPAN, {"score": [0.25]})
        os.truncate(path, path.stat().st_size - 1)

        with pytest.raises(Conflict, match="was damaged.*--restart"):
            list(journal.results())


def test_two_commands_never_write_the_same_file(tmp_path):
    with (
        Journal(tmp_path / "journal", {"input": 1}),
        pytest.raises(Conflict, match="Another `heed score`"),
    ):
        Journal(tmp_path / "journal", {"input": 1})


def test_nobody_else_may_read_the_journal(begun, tmp_path):
    assert journal_of(tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0
