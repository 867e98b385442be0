"""Who executes a run: a person's own terminal, or a child process of the worker."""

import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import BaseModel, ValidationError

from services.trainer.config import TrainerSettings
from services.trainer.desk import Desk
from services.trainer.faults import where
from services.trainer.launchers.launching import require_alone
from services.trainer.progress import Reporter, Show, plain_lines
from services.trainer.workplace import Workplace, code_version, open_workplace, tidy
from shared.contracts.manifest import RewardManifest
from shared.contracts.policy import PolicyManifest
from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.audit import person_name
from shared.db.tables import TrainingRun
from shared.errors import (
    ConfigError,
    DatabaseUnavailable,
    HeedError,
    RunInterrupted,
    Unavailable,
)
from shared.jobs import FOREGROUND, finish, start_foreground

if TYPE_CHECKING:
    from services.trainer.runs import Finished

EXIT_REFUSED, EXIT_LOST, EXIT_STOPPED, EXIT_UNAVAILABLE = 2, 3, 4, 5

Notice = Callable[[str], None]


def _ignore(_: str) -> None:
    """Tell nobody."""


def owner_name() -> str:
    """Who works on a run: the machine and the process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def train_here(
    settings: TrainerSettings,
    url: str,
    request: TrainingRequest,
    *,
    show: Show | None = None,
    notice: Notice = _ignore,
) -> "Finished":
    """A finished run, executed in this process from its row to its model version.

    `notice` is told of earlier runs that were found interrupted.

    Raises:
        RunInterrupted: it was stopped by Ctrl-C, cancelled, or lost its claim.
        HeedError: it could not be done; the row says why.
    """
    require_alone(settings, request.kind)
    with _workplace(settings, url) as (portal, workplace), _stoppable():
        for run in portal.call(tidy, workplace):
            notice(interrupted_notice(run))
        run = portal.call(_start, workplace, request)
        return _attempt(Desk.of(run, workplace, portal), Reporter(show))


def work_on(settings: TrainerSettings, url: str, run_id: uuid.UUID, attempt: int) -> int:
    """Execute a run that the worker claimed, as its child process; the exit status.

    SIGTERM lets it save a checkpoint and end; its row stays the worker's to close.
    """
    reporter = Reporter(plain_lines())
    signal.signal(signal.SIGTERM, lambda *_: reporter.ask_to_stop("The run was told to stop."))
    try:
        with _workplace(settings, url) as (portal, workplace):
            run = portal.call(_claimed, workplace, run_id, attempt)
            if run is None:
                return EXIT_LOST
            _attempt(Desk.of(run, workplace, portal), reporter)
    except RunInterrupted:
        return EXIT_STOPPED if reporter.stop_requested else EXIT_LOST
    except Unavailable:
        raise
    except HeedError:
        return EXIT_REFUSED  # the row says why; trying again would not help
    return 0


def interrupted_notice(run: TrainingRun) -> str:
    """One line on a run that went silent, and how to start it again."""
    command = run.params.get("command") or "the same command"
    return (
        f"Training run {run.id} ({run.kind}) was interrupted: nothing was heard of it for a "
        f"minute. Start it again with: {command}; or `heed train resume {run.id}` lets a worker go "
        "on from its checkpoint."
    )


def export_folder(artifact: Path, output: Path) -> None:
    """Copy a model's artifact to a folder of the person's choice, in place of an earlier model.

    Raises:
        ConfigError: the folder cannot be written, or holds something else already.
    """
    aside = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(artifact, aside)
        if _is_model(output):
            shutil.rmtree(output)
        aside.rename(output)
    except OSError as error:
        raise ConfigError(
            f"The model is registered, but {output} cannot be written ({error.strerror}); "
            "give another --output."
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_model(folder: Path) -> bool:
    """Whether a folder is an artifact of ours, judged by a manifest that can be read."""
    kinds: dict[str, type[BaseModel]] = {
        "reward_model.json": RewardManifest,
        "policy.json": PolicyManifest,
    }
    return any(_reads(folder / name, kind) for name, kind in kinds.items())


def _reads(path: Path, kind: type[BaseModel]) -> bool:
    try:
        kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return False
    return True


@contextmanager
def _workplace(settings: TrainerSettings, url: str) -> Iterator[tuple[BlockingPortal, Workplace]]:
    opened = open_workplace(settings, url)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as workplace:
        yield portal, workplace


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends a foreground run as Ctrl-C does; only the main thread is ever told of it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _attempt(desk: Desk, reporter: Reporter) -> "Finished":
    """Execute, and close the row of a run that ended in any other way than success."""
    from services.trainer.runs import execute  # with what trains; who only waits needs none of it

    try:
        return execute(desk, reporter)
    except KeyboardInterrupt:
        _close(desk, RunStatus.INTERRUPTED, "stopped by the person who started it")
        command = desk.request.command or "the same command"
        raise RunInterrupted(f"Interrupted; nothing is half-written. Again: {command}") from None
    except RunInterrupted as error:
        if desk.run.queue == FOREGROUND:  # a worker's run is the worker's to close
            _close(desk, RunStatus.CANCELLED, error.detail)
        raise
    except DatabaseUnavailable:
        raise  # the row can be closed by nobody now; it is found interrupted later
    except Unavailable as error:
        if desk.run.queue == FOREGROUND:  # else the worker decides whether it waits
            _close(desk, RunStatus.FAILED, error.detail)
        raise
    except HeedError as error:
        _close(desk, RunStatus.FAILED, error.detail)
        raise
    except Exception as error:
        if desk.run.queue == FOREGROUND:  # else the worker tries again
            _close(desk, RunStatus.FAILED, where(error))
        raise


def _close(desk: Desk, status: RunStatus, why: str) -> None:
    try:
        desk.transact(partial(finish, row=desk.run, status=status, error=why))
    except RunInterrupted:
        return  # somebody else has the run by now, and decides how it ends


async def _start(workplace: Workplace, request: TrainingRequest) -> TrainingRun:
    async with workplace.sessions.begin() as session:
        return await start_foreground(
            session,
            TrainingRun,
            kind=request.kind,
            params=request.model_dump(mode="json"),
            owner=owner_name(),
            created_by=person_name(),
            code_version=code_version(),
        )


async def _claimed(workplace: Workplace, run_id: uuid.UUID, attempt: int) -> TrainingRun | None:
    async with workplace.sessions() as session:
        run = await session.get(TrainingRun, run_id)
    is_ours = run is not None and run.attempt == attempt and run.status == RunStatus.RUNNING
    return run if is_ours else None
