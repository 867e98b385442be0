"""A deployment of real processes: found again, healed after every kind of death, stopped."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from heed_cli.database import in_transaction
from heed_cli.deployment import Deployment
from services.trainer.config import TrainerSettings
from services.trainer.worker import life_file
from shared.config import load_settings
from shared.db import embedded
from shared.db.tables import Feedback

NAMES = ["postgres", "feedback_api", "reward_service", "trainer"]


def states(heed) -> dict[str, dict]:
    return {state["name"]: state for state in json.loads(heed("status", "--json").stdout)}


def pids(heed) -> dict[str, int]:
    return {name: state["pid"] for name, state in states(heed).items()}


def stored_ids(heed) -> set[str]:
    url = embedded.attach(heed.data_dir).url()
    query = select(Feedback.feedback_id)

    async def read(session):
        return set(await session.scalars(query))

    return in_transaction(url, read)


@contextmanager
def posting(heed, prefix: str) -> Iterator[list[str]]:
    """Meanwhile, post one row after the other; the list holds the ids that were acknowledged."""
    acknowledged: list[str] = []
    stop = threading.Event()
    token = (heed.data_dir / "dev.key").read_text().strip()
    url = states(heed)["feedback_api"]["url"]

    def post() -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=5, trust_env=False) as client:
            number = 0
            while not stop.is_set():
                number += 1
                body = {"feedback_id": f"{prefix}-{number}", "rating": 1 + number % 5}
                body |= {"prompt": f"p {prefix} {number}", "response": "r"}
                try:
                    reply = client.post("/feedback", json=body)
                except httpx.HTTPError:
                    continue
                if reply.status_code == 201:
                    acknowledged.append(body["feedback_id"])

    thread = threading.Thread(target=post)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def wait_for(condition) -> None:
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("It did not happen within 30 s.")


def test_everything_is_ready_and_a_key_only_its_owner_reads_is_there(running):
    found = states(running)

    assert {name: state["state"] for name, state in found.items()} == {
        "postgres": "running",
        "feedback_api": "ready",
        "reward_service": "ready",
        "trainer": "ready",
    }
    assert found["reward_service"]["model"] == "none"
    assert (running.data_dir / "dev.key").stat().st_mode & 0o777 == 0o600
    assert running("doctor").returncode == 0


def test_the_worker_and_the_command_mean_the_same_sign_of_life():
    settings = load_settings(TrainerSettings, data_dir=Path("/x"))

    assert Deployment.of(Path("/x")).sign_of_life == life_file(settings)


def test_a_second_up_leaves_alone_what_runs_and_keeps_the_key(running):
    before, key = pids(running), (running.data_dir / "dev.key").read_text()

    assert key.strip() in running.done("up")
    assert pids(running) == before
    assert (running.data_dir / "dev.key").read_text() == key


def test_two_ups_at_once_agree(running):
    os.kill(pids(running)["reward_service"], signal.SIGKILL)
    outcomes = []

    threads = [
        threading.Thread(target=lambda: outcomes.append(running.afresh("up").returncode))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [0, 0]
    assert all(state["state"] in ("ready", "running") for state in states(running).values())


@pytest.mark.parametrize("name", NAMES)
def test_up_heals_after_a_kill_and_no_acknowledged_row_is_lost(running, name):
    victim = pids(running)[name]
    with posting(running, f"kill-{name}") as acknowledged:
        wait_for(lambda: len(acknowledged) >= 20)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: pids(running)[name] is None)
        running.done("up")
        count = len(acknowledged)
        wait_for(lambda: len(acknowledged) > count)

    assert set(acknowledged) <= stored_ids(running)
    assert pids(running)[name] not in (None, victim)


def test_a_dead_service_is_reported_as_such(running):
    os.kill(pids(running)["trainer"], signal.SIGKILL)
    wait_for(lambda: pids(running)["trainer"] is None)

    ended = running("status")

    assert ended.returncode == 1
    assert "died" in ended.stdout
    running.done("up")


def test_logs_show_one_service_or_all(running):
    everything = running.done("logs", "-n", "3")

    assert {line.split()[0] for line in everything.splitlines()} == set(NAMES)
    assert len(running.done("logs", "feedback_api", "-n", "2").splitlines()) == 2
    assert "No log of nothing" in running.refused("logs", "nothing")


def test_ctrl_c_ends_following_the_logs_and_stops_nothing(running):
    before = pids(running)
    command = [sys.executable, "-P", "-m", "heed_cli", "logs", "-f"]
    command += ["--data-dir", str(running.data_dir)]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as following:
        following.stdout.readline()
        os.killpg(following.pid, signal.SIGINT)
        _, said = following.communicate(timeout=30)

    assert following.returncode != 0
    assert "Traceback" not in said
    assert pids(running) == before


def test_a_deployment_that_others_can_reach_gets_no_development_key(heed):
    said = heed.done("up", HEED_FEEDBACK_HOST="0.0.0.0")

    assert "API key" not in said
    assert not (heed.data_dir / "dev.key").exists()


def test_down_stops_everything_and_up_finds_the_rows_again(heed):
    heed.done("up")
    with posting(heed, "kept") as acknowledged:
        wait_for(lambda: len(acknowledged) >= 5)
        said = heed.done("down")

    order = [line.split()[1] for line in said.splitlines()]
    assert order == ["feedback_api", "trainer", "reward_service", "postgres"]
    assert {state["pid"] for state in states(heed).values()} == {None}
    assert "Nothing runs here" in heed.done("down")
    heed.done("up")
    assert set(acknowledged) <= stored_ids(heed)
