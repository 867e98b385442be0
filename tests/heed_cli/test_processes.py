"""Processes are found again, never confused with others, and stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heed_cli.processes import ProcessFolder, Program

_SLEEPS = "import time; print('ready', flush=True); time.sleep(60)"
_IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _SLEEPS


@pytest.fixture
def folder(tmp_path: Path) -> ProcessFolder:
    made = ProcessFolder(tmp_path / "data dir")
    made.make()
    return made


def program(tmp_path: Path, code: str, **settings: str) -> Program:
    """A module that runs `code`; PYTHONPATH is how it is found."""
    (tmp_path / "demo_service.py").write_text(code)
    return Program("service", "demo_service", {"PYTHONPATH": str(tmp_path), **settings})


def wait_for_log(folder: ProcessFolder) -> None:
    while not folder.log("service").read_text():
        assert folder.find("service").is_alive


def test_a_process_is_found_by_a_later_command_and_stopped(folder, tmp_path):
    started = folder.start(program(tmp_path, _SLEEPS))

    found = ProcessFolder(folder.run.parent).find("service")
    assert found == started
    assert found.is_alive
    assert ProcessFolder(folder.run.parent).stop("service", grace_s=10)
    assert not started.is_alive
    assert folder.find("service") is None


def test_a_process_has_its_own_session_so_that_ctrl_c_does_not_reach_it(folder, tmp_path):
    started = folder.start(program(tmp_path, _SLEEPS))
    wait_for_log(folder)

    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    folder.stop("service", grace_s=10)


def test_a_process_that_ignores_the_request_is_ended_by_force(folder, tmp_path):
    started = folder.start(program(tmp_path, _IGNORES_SIGTERM))
    wait_for_log(folder)

    assert folder.stop("service", grace_s=0.2)
    assert not started.is_alive


def test_somebody_elses_process_with_the_same_pid_is_left_alone(folder):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        record = {"name": "service", "pid": other.pid, "birth": "an earlier boot:1"}
        folder.run.joinpath("service.json").write_text(
            json.dumps({**record, "url": None, "started_at": 0.0})
        )

        assert not folder.find("service").is_alive
        assert not folder.stop("service", grace_s=1)
        assert other.poll() is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_record_cut_short_by_a_crash_counts_as_none(folder, content):
    folder.run.joinpath("service.json").write_text(content)

    assert folder.find("service") is None


def test_a_process_gets_its_settings_and_writes_to_its_log(folder, tmp_path):
    code = "import os; print('said', os.environ['HEED_TEST_SETTING'])"

    started = folder.start(program(tmp_path, code, HEED_TEST_SETTING="a b"))
    while started.is_alive:
        pass

    assert folder.last_words("service") == "said a b"


def test_a_log_that_grew_too_long_is_put_aside(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("heed_cli.processes._LOG_BYTES_KEPT", 10)
    folder.log("service").write_text("old and long enough\n")

    started = folder.start(program(tmp_path, "print('new')"))
    while started.is_alive:
        pass

    assert folder.log("service").read_text() == "new\n"
    assert folder.logs.joinpath("service.log.1").read_text() == "old and long enough\n"
