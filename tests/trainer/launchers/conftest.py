"""Runs as the worker claims them, and the command that it starts for them on two processes."""

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.proxies import free_port

from shared.contracts.training import TrainingRequest
from shared.db.tables import TrainingRun
from shared.jobs import claim, enqueue


@pytest.fixture
async def claimed(sessions) -> Callable[[TrainingRequest], Awaitable[TrainingRun]]:
    """A run as the worker claims it."""

    async def make(request: TrainingRequest) -> TrainingRun:
        params = request.model_dump(mode="json")
        async with sessions.begin() as session:
            await enqueue(session, TrainingRun, kind=request.kind, params=params)
        async with sessions.begin() as session:
            return await claim(session, TrainingRun, queues=["cpu"], owner="test", lease_s=600)

    return make


@pytest.fixture
async def start(as_settings, monkeypatch) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    """Starts the worker's command for a run on two processes, of this host or of two.

    For no run it starts what a host does that is not the worker's, without a database.
    """
    meeting = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("HEED_LAUNCHER", "torchrun")
    monkeypatch.setenv("HEED_LAUNCH_PROCESSES", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started: list[Process] = []

    async def begin(run: TrainingRun | None, *, host: int | None = None) -> Process:
        if host is not None:
            monkeypatch.setenv("HEED_LAUNCH_PROCESSES", "1")
            monkeypatch.setenv("HEED_LAUNCH_HOSTS", "2")
            monkeypatch.setenv("HEED_LAUNCH_HOST", str(host))
            monkeypatch.setenv("HEED_LAUNCH_RENDEZVOUS", meeting)
        if run is None:
            monkeypatch.setenv("HEED_DATABASE_URL", "postgresql://nowhere.invalid/unused")
        words = ("--run", str(run.id), "--attempt", str(run.attempt)) if run else ("--beside",)
        command = (sys.executable, "-m", "services.trainer", *words, "--parent", str(os.getpid()))
        started.append(await asyncio.create_subprocess_exec(*command))
        return started[-1]

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()
