"""`heed score` as people type it."""

import json
import os
import pty
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import get_type_hints

import pytest

from heed_cli.main import main
from heed_cli.score import score
from services.trainer.batch_scoring.job import journal_of
from services.trainer.batch_scoring.rows import CHUNK_ROWS
from shared.contracts.scoring import EngineChoice
from shared.exports import exports_folder, exports_holding, keep_export
from shared.registry import NewVersion, promote, register_version
from tests.support.commands import run_command

SECRET = "a secret for the tests, long enough."


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "COLUMNS": "120",
        "TERM": "xterm",
        "OMP_NUM_THREADS": "1",
        "HEED_SECRET_KEY": SECRET,
        "HEED_DATA_DIR": str(tmp_path / "data"),
    }


@pytest.fixture
def heed(environment):
    """Runs the command in a process of its own; a folder as model needs no database."""

    def run(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
        return run_command(["heed", "score", *words], environment | more)

    return run


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "heed_cli", "score", *map(str, words)]


def test_a_killed_command_goes_on_to_the_same_bytes(
    tmp_path, json_lines, model_folder, environment, heed
):
    file = json_lines([{"prompt": f"what {at}", "response": "kind " * 25}
                       for at in range(8 * CHUNK_ROWS)])  # fmt: skip
    undisturbed, output = tmp_path / "undisturbed.jsonl", tmp_path / "out.jsonl"
    words = (file, "--model", model_folder, "--return", "raw,uncertainty")
    whole = heed(*words, "-o", undisturbed)
    assert whole.returncode == 0, whole.stderr
    journal = journal_of(output)

    with subprocess.Popen(command(*words, "-o", output), env=environment) as killed:
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
            assert killed.poll() is None
            time.sleep(0.005)
        killed.kill()
    assert not output.exists()
    ended = heed(*words, "-o", output)

    assert ended.returncode == 0, ended.stderr
    assert output.read_bytes() == undisturbed.read_bytes()
    assert f"{8 * CHUNK_ROWS:,} rows" in ended.stdout
    assert not journal.exists()


def test_an_erasure_finds_the_scored_copy_of_a_kept_export(
    json_lines, model_folder, environment, heed
):
    data_dir = Path(environment["HEED_DATA_DIR"])
    export = exports_folder(data_dir) / "rows.jsonl"
    json_lines([{"prompt": "what", "response": "kind"}]).rename(export)
    keep_export(data_dir, export, [7])

    copied = heed(export, "--model", model_folder)
    taken_out = heed(export, "--model", model_folder, "-o", data_dir / "mine.jsonl")

    assert exports_holding(data_dir, [7]) == [export, export.with_name("rows.scored.jsonl")]
    assert "An erasure removes this file" in copied.stdout
    assert "an erasure does not reach this file" in taken_out.stdout


def test_a_pipe_gets_scored_lines_and_nothing_else(model_folder, environment):
    rows = [{"prompt": "what", "response": "kind"}, {"prompt": "what is"}]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)

    ended = subprocess.run(
        command("-", "--model", model_folder), env=environment | {"HEED_LOG_LEVEL": "DEBUG"},
        input=lines, capture_output=True, text=True, check=False,
    )  # fmt: skip

    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["prompt"] for row in found] == ["what", "what is"]
    assert 0 < found[0]["score"] < 1
    assert found[1]["error"] == "`response` is missing"
    assert "1 of 2 rows have no score" in ended.stderr
    assert ended.returncode == 1


def test_a_terminal_sees_how_fast_it_goes_and_no_text(
    tmp_path, json_lines, model_folder, environment
):
    file = json_lines([{"prompt": "what", "response": "kind"}, {"prompt": "secret words"}])
    screen, terminal = pty.openpty()

    with subprocess.Popen(
        command(file, "--model", model_folder), env=environment, stderr=terminal,
        stdout=subprocess.PIPE, text=True,
    ) as ended:  # fmt: skip
        os.close(terminal)
        shown = all_of(screen)
        said = ended.stdout.read()

    assert ended.returncode == 1
    assert "scoring" in shown
    assert "2 rows" in shown
    assert "row 2" in said
    assert "`response` is missing" in said
    assert "secret" not in said + shown
    assert (tmp_path / "rows.scored.jsonl").exists()


def all_of(screen: int) -> str:
    """What a terminal shows until whoever writes to it ends."""
    shown = b""
    with suppress(OSError), open(screen, "rb", buffering=0) as file:
        while piece := file.read(4096):
            shown += piece
    return shown.decode()


@pytest.fixture
async def promoted(model_folder, store, sessions) -> str:
    """The alias of a registered model."""
    uri, sha256 = store.put_folder(model_folder)
    async with sessions.begin() as session:
        new = NewVersion(kind="embedding", sha256=sha256, uri=uri, metrics={}, name="kindness")
        version = await register_version(session, new)
        await promote(session, version.id, reason="a test")
    return "kindness:champion"


async def test_a_version_is_found_by_its_alias(promoted, json_lines, settings, heed):
    file = json_lines([{"prompt": "what", "response": "kind"}])
    url = settings.database_url.get_secret_value()
    place = {"HEED_DATABASE_URL": url, "HEED_DATA_DIR": str(settings.data_dir)}

    ended = heed(file, "--model", promoted, **place)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(file.with_name("rows.scored.jsonl").read_text())["error"] is None


def test_every_engine_can_be_asked_for():
    assert get_type_hints(score)["engine"] == EngineChoice


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (["--return", "raw,charm"], "--return knows no 'charm'"),
        (["--weight", "overall"], "--weight takes an aspect and a number"),
        (["--weight", "overall=0"], "not all of them 0"),
        (["-o", "scored.docx"], "say how it is written"),
    ],
)
def test_a_wrong_wish_is_one_line_that_says_what_to_do(wish, told, capfd):
    with pytest.raises(SystemExit):
        main(["score", "rows.jsonl", *wish])

    said = capfd.readouterr().err
    assert told in said
    assert len(said.splitlines()) == 1
