"""Child processes of the worker: what loads models runs in one, which takes its memory along.

A child has its own process group and dies with the worker.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from services.trainer.run_logs import read_tail
from shared.db.tables import Job, TrainingRun
from shared.folders import make_private

_LAST_BYTES = 2000


@asynccontextmanager
async def child_for(
    work: TrainingRun | Job, option: Literal["--run", "--job"], log_path: Path
) -> AsyncIterator[Process]:
    """A child process doing claimed work; it and all its children are gone afterwards."""
    make_private(log_path.parent)
    asked = (option, work.id, "--attempt", work.attempt, "--parent", os.getpid())
    with log_path.open("ab") as sink:
        sink.write(f"--- attempt {work.attempt} of {work.id} on {socket.gethostname()}\n".encode())
        sink.flush()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.trainer", *map(str, asked)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def ask_to_end(child: Process) -> None:
    """Tell a child's first process to save what it has and to end; the others are its own."""
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)


def how_it_ended(status: int, log_path: Path) -> str:
    """The exit status in words, and the last that the child wrote."""
    return f"{_described(status)}\n{read_tail(log_path, _LAST_BYTES)}".strip()


def _described(status: int) -> str:
    if status >= 0:
        return f"The process ended with status {status}."
    name = signal.Signals(-status).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"The process was killed by {name}{hint}."
