"""Heed's commands, each in a process of its own that need not import everything anew.

A server that has loaded what they import forks a process for each of them. It has environment,
folder, streams and exit status of its own, as one that a shell started. What only a fresh
interpreter can show is tested with `python -m heed_cli`.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

TIMEOUT_S = 900


def run_command(
    words: Sequence[object],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> CompletedProcess[str]:
    """How a command ended, such as `["heed", "up"]`, and what it printed.

    Environment and folder are those of here unless others are given.

    Raises:
        TimeoutExpired: it did not end in time, and was killed.
    """
    typed = list(map(str, words))
    with tempfile.TemporaryDirectory() as streams:
        told = Path(streams, "out"), Path(streams, "err")
        given = os.environ if environment is None else environment  # noqa: TID251
        args = (typed, dict(given), folder or Path.cwd(), told)
        status = _status_of(_server().Process(target=_be, args=args), typed)
        return CompletedProcess(typed, status, *(path.read_text() for path in told))


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.loaded"])
    return context


def _status_of(process: ForkServerProcess, typed: list[str]) -> int:
    process.start()
    process.join(TIMEOUT_S)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
        raise TimeoutExpired(typed, TIMEOUT_S)
    process.close()
    return status


def _be(
    words: list[str], environment: dict[str, str], folder: Path, told: tuple[Path, Path]
) -> None:
    """Become the command; what is forked calls this and ends."""
    for stream, path in zip((1, 2), told, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(folder)
    os.environ.clear()  # noqa: TID251
    os.environ.update(environment)  # noqa: TID251
    sys.argv = words
    (script,) = entry_points(group="console_scripts", name=words[0])
    script.load()()
