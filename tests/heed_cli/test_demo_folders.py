"""Old demos make room for new ones, and nothing else is ever removed."""

import os

import pytest

from heed_cli.demo.folders import mark_over, remove_old
from heed_cli.processes import ProcessFolder, Program

STAMPS = [f"2026-01-0{day}-120000" for day in range(1, 6)]


@pytest.fixture
def demos(tmp_path):
    """Five folders as demos leave them."""
    for stamp in STAMPS:
        mark_over(make(tmp_path / "demos" / stamp))
    return tmp_path / "demos"


def make(folder):
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "trainer.log").write_text("trained")
    return folder


def names(demos):
    return sorted(path.name for path in demos.iterdir())


def test_the_newest_two_stay_beside_the_next_one(demos):
    remove_old(demos)

    assert names(demos) == STAMPS[-2:]


def test_a_folder_for_demos_that_does_not_exist_yet_is_fine(tmp_path):
    remove_old(tmp_path / "new")

    assert names(tmp_path) == []


def test_what_no_demo_left_behind_stays(demos, tmp_path):
    elsewhere = make(tmp_path / "2025-01-01-120000")
    mark_over(elsewhere)
    (demos / "2025-01-02-120000").symlink_to(elsewhere)
    make(demos / "2025-01-03-120000")
    (demos / "2025-01-04-120000").write_text("a file")
    mark_over(make(demos / "mine"))
    before = set(names(demos))

    remove_old(demos)

    assert before - set(names(demos)) == set(STAMPS[:3])
    assert (elsewhere / "logs" / "trainer.log").exists()


def test_a_demo_that_somebody_went_on_with_stays(demos):
    log = demos / STAMPS[0] / "logs" / "trainer.log"
    later = (demos / STAMPS[0] / "demo.over").stat().st_mtime + 60
    os.utime(log, (later, later))

    remove_old(demos)

    assert names(demos) == [STAMPS[0], *STAMPS[-2:]]


def test_a_demo_that_runs_stays(demos, tmp_path):
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(60)")
    processes = ProcessFolder(demos / STAMPS[0])
    processes.make()
    processes.start(Program("trainer", "sleeper", {"PYTHONPATH": str(tmp_path)}))
    mark_over(demos / STAMPS[0])
    try:
        remove_old(demos)

        assert names(demos) == [STAMPS[0], *STAMPS[-2:]]
    finally:
        processes.stop("trainer", grace_s=5)
    remove_old(demos)
    assert names(demos) == STAMPS[-2:]
