"""`heed import` and `heed export` as they are typed."""

import json
import re
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path

import pytest

from heed_cli.exchange.formats import FORMATS
from heed_cli.main import main

ROW = {"prompt": "secret", "response": "r", "rating": 4}


def typed(*args: str | Path, capsys) -> tuple[int, str, str]:
    """Exit status, standard output and standard error, as one line each may be wrapped."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    said = capsys.readouterr()
    return ended.value.code, re.sub(r"\s+", " ", said.out), said.err


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_help_names_every_format(capsys):
    status, said, _ = typed("import", "--help", capsys=capsys)

    plain = re.sub(r"[^\w:,-]+", " ", said)
    assert status == 0
    assert [name for name in FORMATS if f"{name}:" not in plain] == []


def test_a_dry_run_checks_every_row_and_leaves_only_the_list_of_faults(tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", ROW, ROW | {"rating": 9}, ROW | {"thumbs": "sideways"})

    status, said, _ = typed(
        "import", "csv", path, "--dry-run", "--data-dir", tmp_path / "d", capsys=capsys
    )

    listed = (tmp_path / "rows.jsonl.errors.jsonl").read_text().splitlines()
    assert status == 1
    assert "would be stored 1 as 1 posts" in said
    assert [json.loads(line)["line"] for line in listed] == [2, 3]
    assert {left.name for left in tmp_path.iterdir()} == {"rows.jsonl", "rows.jsonl.errors.jsonl"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("import", "cvs", "rows.jsonl"), "Unknown format 'cvs'. There are: hh-rlhf, comparisons"),
        (("export", "cvs"), "Unknown format 'cvs'. There are: hh-rlhf, comparisons"),
        (("import", "csv", "."), "is a folder: name one file"),
        (("import", "csv", "nowhere.csv"), "cannot be read: No such file"),
        (("import", "csv", "rows.jsonl"), "run `heed up`|with `heed up`"),
        (("import", "csv", "rows.jsonl", "--url", "http://127.0.0.1:9"), "Give a key of"),
        (
            ("import", "csv", "rows.jsonl", "--url", "http://127.0.0.1:9", "--key", "heed_a_b"),
            "No feedback API answers at http://127.0.0.1:9: start it with `heed up`",
        ),
        *(
            (("import", "csv", "rows.jsonl", "--url", url, "--key", "heed_a_b"), "is not a URL")
            for url in ("nonsense", "http://[::1", "ftp://127.0.0.1:9")
        ),
        (("import", "csv", "rows.jsonl", "--key", "schlüssel"), "letters that no key has"),
        (
            ("import", "csv", "rows.jsonl", "--dry-run", "--errors", "no/e.jsonl"),
            "no/e.jsonl.* cannot be written .*--errors",
        ),
        (("export", "hh-rlhf", "--all-rows"), "never holds rows without consent"),
        (("export", "csv", "--conversational"), "knows no conversations"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(tmp_path, monkeypatch, capsys, args, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEED_API_KEY", raising=False)
    write(tmp_path / "rows.jsonl", ROW)

    status, _, errors = typed(*args, "--data-dir", tmp_path / "d", capsys=capsys)

    assert status == 1
    assert len(errors.splitlines()) == 1
    assert re.search(said, errors)
    assert "secret" not in errors


async def test_an_export_without_a_name_is_kept_and_says_so(place, shared_database_url):
    await place.take_in("csv", write(place.folder / "rows.jsonl", ROW))
    command = [sys.executable, "-P", "-m", "heed_cli", "export", "csv"]
    settings = {
        "PATH": "/usr/bin:/bin",
        "COLUMNS": "200",
        "HEED_DATA_DIR": str(place.folder / "data dir"),
        "HEED_DATABASE_URL": shared_database_url,
    }

    process = await create_subprocess_exec(
        *command, "--project", str(place.project), env=settings, stdout=PIPE, stderr=PIPE
    )
    said, errors = await process.communicate()

    written, rows = sorted((place.folder / "data dir" / "exports").glob("csv-*"))
    assert process.returncode == 0, errors
    assert str(written) in said.decode()
    assert written.read_text().splitlines()[1].startswith("secret,r,4,")
    assert rows.name == f"{written.name}.rows.json"
