"""The worker as a real process: it survives its children, and they do not survive it.

That runs are taken up again after kills: `test_training_chaos.py`.
"""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

import pytest

from services.trainer.run_logs import path_here
from services.trainer.worker import Worker
from services.trainer.workplace import open_workplace
from shared import jobs
from shared.contracts.training import RunKind
from shared.db.tables import TrainingRun

WITHIN_S = 120


@pytest.fixture
def enqueue(sessions, insert, polite):
    """Queues a run, after posting enough to train on unless told otherwise."""

    async def enqueue_run(*, posts: int = 120, **placement: object):
        await insert(*polite(posts))
        async with sessions.begin() as session:
            return await jobs.enqueue(
                session, TrainingRun, kind=RunKind.REWARD_EMBEDDING, params={}, **placement
            )

    return enqueue_run


def _child_of(worker: Process) -> int:
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        for pid in children.read_text().split():
            with suppress(OSError):
                if b"--run" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return int(pid)
        time.sleep(0.02)
    raise TimeoutError("The worker started no process for a run.")


async def child_of(worker: Process) -> int:
    """The process the worker has started for a run."""
    return await asyncio.to_thread(_child_of, worker)


def _is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    for _ in range(200):
        with suppress(FileNotFoundError, ProcessLookupError):
            if "State:\tZ" not in status.read_text():
                time.sleep(0.05)
                continue
        return True
    return False


async def is_gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    return await asyncio.to_thread(_is_gone, pid)


async def test_a_queued_run_is_trained_by_the_worker(enqueue, reached, start_worker):
    run_id = await enqueue()
    await start_worker()

    run = await reached(run_id, lambda run: run.status not in ("queued", "running"))

    run = await reached(run_id, lambda run: "gate" in (run.log_tail or ""))
    assert run.log_tail.startswith(f"--- attempt 1 of {run_id} on ")
    assert path_here(run.log_uri).read_text().startswith("--- attempt 1")
    assert (run.status, run.attempt, run.error) == ("succeeded", 1, None)
    assert run.progress == {"fraction": 1.0, "stage": "done", "numbers": {}}


async def test_a_refused_run_fails_at_once_with_its_reason(enqueue, reached, start_worker):
    run_id = await enqueue(posts=9)
    await start_worker()

    run = await reached(run_id, lambda run: run.status not in ("queued", "running"))

    assert (run.status, run.attempt) == ("failed", 1)
    assert run.duration_s > 0
    assert run.code_version.startswith("0.1.0+")
    assert "at least 10" in run.error


async def test_a_killed_child_costs_the_run_an_attempt_and_the_worker_nothing(
    enqueue, reached, start_worker
):
    run_id = await enqueue(max_attempts=1)
    worker = await start_worker()

    os.kill(await child_of(worker), signal.SIGKILL)
    run = await reached(run_id, lambda run: run.status != "running" and run.attempt == 1)

    assert run.status == "failed"
    assert "SIGKILL" in run.error
    assert worker.returncode is None


async def test_a_machine_that_cannot_begin_a_run_costs_it_an_attempt_and_the_worker_nothing(
    settings, enqueue, reached
):
    (settings.data_dir / "logs").touch()  # no folder, so no log can be opened there
    async with open_workplace(settings, settings.database_url.get_secret_value()) as workplace:
        worker = Worker(workplace)
        working = asyncio.create_task(worker.work())

        runs = [await enqueue(posts=0, max_attempts=1) for _ in range(2)]
        ended = [await reached(run_id, lambda run: run.status == "failed") for run_id in runs]
        is_at_work = not working.done()
        worker.stop()
        await working

    assert is_at_work
    assert all("could not do it: Not a directory" in run.error for run in ended)


async def test_a_worker_that_is_told_to_stop_gives_its_run_back(enqueue, reached, start_worker):
    run_id = await enqueue()
    worker = await start_worker()
    child = await child_of(worker)

    worker.terminate()
    async with asyncio.timeout(WITHIN_S):
        await worker.wait()

    run = await reached(run_id, lambda run: run.status == "queued")
    assert worker.returncode == 0
    assert await is_gone(child)
    assert run.attempt < run.max_attempts


async def test_a_cancelled_run_stops(sessions, enqueue, reached, start_worker):
    run_id = await enqueue()
    worker = await start_worker()
    child = await child_of(worker)
    async with sessions.begin() as session:
        await jobs.cancel(session, TrainingRun, run_id)

    run = await reached(run_id, lambda run: run.status not in ("queued", "running"))

    assert run.status == "cancelled"
    assert run.duration_s > 0
    assert run.code_version.startswith("0.1.0+")
    assert await is_gone(child)
