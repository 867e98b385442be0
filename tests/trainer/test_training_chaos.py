"""Runs end once and with the same weights, whatever of them is killed; in real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_run_ends_once_with_the_weights_of_one_that_nothing_disturbed(
    tmp_path: Path, monkeypatch
):
    result = tmp_path / "chaos.json"
    size = "--runs 1 --kind ppo --pairs 40 --epochs 20 --latest 0.4 --kinds worker,postgres"
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_chaos", *size.split(), "--out", str(result)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(result.read_text())
    assert (found["finished_once"], found["same_weights"]) == (1, 1)
    assert found["went_on_from_checkpoint"] == 1
    assert found["disturbed"] == {"recipe": 0, "cancel": 0, "worker": 1, "postgres": 1}
    assert found["most_processes_at_work_on_one_run"] == 1
