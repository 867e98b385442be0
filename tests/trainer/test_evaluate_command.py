"""`heed evaluate` as people type it, on a model that was just trained."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.commands import run_command


@pytest.fixture
def heed(settings, monkeypatch):
    """Runs the command in a process of its own on the test's database."""
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> CompletedProcess[str]:
        return run_command(["heed", *words])

    return run


def best_of_three(count: int) -> list[str]:
    rows = [
        {
            "prompt": f"What about bridges, number {at}?",
            "chosen": ["Gladly: here is what there is to say."],
            "rejected": ["Nobody cares.", "Nobody cares about this at all, go away at once."],
            "subset": "polite" if at % 2 else "kind",
        }
        for at in range(count)
    ]
    return [json.dumps(row) for row in rows]


async def test_a_version_and_a_folder_are_judged_side_by_side(heed, insert, polite, tmp_path: Path):
    await insert(*polite())
    trained = heed("train", "embedding", "--output", tmp_path / "copy")
    assert trained.returncode == 0, trained.stderr
    file, written = tmp_path / "cases.jsonl", tmp_path / "out" / "figures.json"
    file.write_text("\n".join([*best_of_three(30), "{broken"]) + "\n")

    ended = heed(
        "evaluate", file, "dataset:1", "--model", "reward@1", "--model", tmp_path / "copy",
        "--json", written, "--plots", tmp_path / "plots",
    )  # fmt: skip

    assert ended.returncode == 1, ended.stdout + ended.stderr
    found = json.loads(written.read_text())
    by_name = {one["name"]: one for one in found["contestants"]}
    assert set(by_name) == {"reward@1", "copy", "random", "longest", "shortest"}
    assert by_name["reward@1"]["overall"]["best_of_n"]["mean"] > 0.9
    assert by_name["reward@1"]["overall"] == by_name["copy"]["overall"]
    assert set(by_name["copy"]["subsets"]) == {"polite", "kind", "preference"}
    assert [source["faults"] for source in found["sources"]] == [0, 1]
    assert "Nobody cares" not in ended.stdout + ended.stderr + written.read_text()
    [fault] = (tmp_path / "cases.jsonl.errors.jsonl").read_text().splitlines()
    assert json.loads(fault)["line"] == 31
    assert (tmp_path / "plots" / "accuracy.png").is_file()


async def test_near_duplicates_of_what_is_trained_on_are_counted_or_left_out(
    heed, insert, polite, tmp_path: Path
):
    rows = polite(60)
    await insert(*rows)
    trained = heed("train", "embedding", "--output", tmp_path / "copy")
    assert trained.returncode == 0, trained.stderr
    case = json.loads(best_of_three(1)[0])
    new = [json.dumps(case | {"prompt": f"How tall is tower {at} of Lyme?"}) for at in range(20)]
    near = json.dumps(case | {"prompt": f"So, {rows[0].prompt}"})
    file, written = tmp_path / "cases.jsonl", tmp_path / "figures.json"
    file.write_text("\n".join([*new, near]) + "\n")

    counted = heed("evaluate", file, "--json", written, "--model", "reward@1")
    left = heed("evaluate", file, "--unseen", "--model", "reward@1")

    found = json.loads(written.read_text())
    assert (found["trained_on"], found["nearly_trained_on"]) == (0, 1), counted.stdout
    assert "0 as they are, 1 nearly" in left.stdout
    assert "20 of 20 different prompts" in left.stdout
