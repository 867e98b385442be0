"""The worker: claims one run after the other and lets a child process execute it.

Schedules are kept and small jobs worked off beside it, so that none waits for a long run.

Whatever happens to a child — an exception, a crash, the kernel out of memory — ends the attempt,
never the worker; so does a machine whose disk is full or that starts no further process.
"""

import asyncio
import math
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.child_jobs import MONITORING_IN_CHILD, QUEUES_IN_CHILD
from services.trainer.children import ask_to_end, child_for, how_it_ended
from services.trainer.config import TrainerSettings
from services.trainer.erasure_jobs import ERASING
from services.trainer.execution import (
    EXIT_LOST,
    EXIT_REFUSED,
    EXIT_STOPPED,
    EXIT_UNAVAILABLE,
    interrupted_notice,
    owner_name,
)
from services.trainer.faults import where
from services.trainer.run_logs import TailSender, last_tail, log_uri
from services.trainer.schedules.keeping import keep_scheduling
from services.trainer.small_jobs import keep_working
from services.trainer.workplace import Workplace, code_version, open_workplace, run_log, tidy
from shared.contracts.values import RunStatus
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.db.tables import TrainingRun
from shared.errors import DatabaseUnavailable, RunInterrupted
from shared.folders import make_private
from shared.jobs import (
    CHANNEL,
    claim,
    finish,
    keep_log,
    release,
    renew,
    requeue_interrupted,
    retry,
)
from shared.logs import get_logger

POLL_S = 2.0
LIFE_S = 30.0  # a worker whose sign of life is older than this is not well
_RENEW_S = 1.0
_ENDING_S = 15.0  # within which a child that closed its row is gone
_DATABASE_WAIT_S = 5.0
_STOPPED, _CANCELLED = -1001, -1002  # why a child had to end, beside all exit statuses
_CLOSED = (0, EXIT_REFUSED)  # endings of a child that has closed its row itself

log = get_logger("trainer")


async def run_worker(settings: TrainerSettings, url: str) -> None:
    """Work through the queues of the settings until SIGTERM or SIGINT.

    Raises:
        SchemaOutdated: the database needs `heed migrate`.
    """
    async with open_workplace(settings, url) as workplace:
        worker = Worker(workplace)
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(stop_signal, worker.stop)
        woken = {
            trade: asyncio.Event() for trade in (ERASING, QUEUES_IN_CHILD, MONITORING_IN_CHILD)
        }

        def wake(_: str = "") -> None:
            worker.wake()
            for event in woken.values():
                event.set()

        beside = (
            asyncio.create_task(listen(url, {CHANNEL: wake}, on_connect=wake), name="listen"),
            asyncio.create_task(keep_scheduling(workplace.sessions), name="schedules"),
            *(
                asyncio.create_task(keep_working(workplace, trade, event), name=trade.queue)
                for trade, event in woken.items()
            ),
        )
        for task in beside:
            task.add_done_callback(_tell_of_fault)
        log.info("worker starts", queues=settings.queues)
        try:
            await worker.work()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        log.info("worker stops")


def _tell_of_fault(task: "asyncio.Task[None]") -> None:
    """What runs beside a worker has no end of its own; nobody else would hear of one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("no longer beside the worker", task=task.get_name(), reason=where(error))


def life_file(settings: TrainerSettings) -> Path:
    """The file a healthy worker touches all the time."""
    return settings.data_dir / "run" / "worker.alive"


class Worker:
    """Claims and executes runs until it is told to stop."""

    def __init__(self, workplace: Workplace) -> None:
        self._workplace = workplace
        self._owner = owner_name()
        self._is_stopping = False
        self._over = 0
        self._woken = asyncio.Event()

    def stop(self) -> None:
        """Give back what is being worked on, then return from `work`."""
        self._is_stopping = True
        self._woken.set()

    def wake(self) -> None:
        """Look for work now."""
        self._woken.set()

    async def work(self) -> None:
        """Take one run after the other; a database that is away is waited for."""
        while not self._is_stopping:
            self._woken.clear()
            self._show_life()
            try:
                run = await self._next()
                if run is not None:
                    await self._execute(run)
                    await self._count(run)
                    continue
            except DatabaseUnavailable:
                log.warning("the database is away")
            except OSError as error:
                log.error("this machine refuses", reason=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()

    async def _count(self, run: TrainingRun) -> None:
        """Stop after as many runs as there are to be; one that will be tried again is not over."""
        most = self._workplace.settings.worker_runs
        if not most:
            return
        with reaching_database():
            async with self._workplace.sessions() as session:
                now = await session.get_one(TrainingRun, run.id)
        self._over += now.status not in (RunStatus.QUEUED, RunStatus.RUNNING)
        if self._over == most:
            self.stop()

    async def _next(self) -> TrainingRun | None:
        for run in await tidy(self._workplace):
            log.warning(interrupted_notice(run), run=str(run.id))
        queues = self._workplace.settings.queues
        with reaching_database():
            async with self._workplace.sessions.begin() as session:
                await requeue_interrupted(session, TrainingRun, queues)
                return await claim(
                    session,
                    TrainingRun,
                    queues=queues,
                    owner=self._owner,
                    code_version=code_version(),
                )

    async def _execute(self, run: TrainingRun) -> None:
        log.info("run starts", run=str(run.id), kind=run.kind, attempt=run.attempt)
        log_path = run_log(self._workplace.settings, run.id)
        try:
            await self._carry_out(run, log_path)
        except RunInterrupted as error:
            log.warning(error.detail, run=str(run.id))
        await self._keep_log(run, log_path)

    async def _carry_out(self, run: TrainingRun, log_path: Path) -> None:
        """Let a child execute the run, and close what it left open.

        Raises:
            RunInterrupted: the claim was lost.
        """
        try:
            async with child_for(run, "--run", log_path) as child:
                ending = await self._watch(run, child, TailSender(log_path))
            await self._close(run, ending, log_path)
        except OSError as error:  # a full disk, no memory for another process
            log.error("this machine refuses", run=str(run.id), reason=str(error))
            reason = f"The worker's machine could not do it: {error.strerror}."
            await self._write(lambda session: retry(session, run, reason))
        else:
            log.info("run ends", run=str(run.id), ending=ending)

    async def _keep_log(self, run: TrainingRun, log_path: Path) -> None:
        try:
            tail = last_tail(log_path, run.attempt)
        except OSError as error:  # the row has what it was sent until now
            log.warning("a log cannot be read", run=str(run.id), reason=str(error))
            return
        await self._write(lambda session: keep_log(session, run, tail))

    async def _watch(self, run: TrainingRun, child: Process, tail: TailSender) -> int:
        """The child's exit status, or why it had to end; the claim is kept meanwhile.

        A child that is to stop may save a checkpoint first, until its time is up.
        """
        why, deadline = 0, math.inf
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_S):
                    ending = await child.wait()
                    return ending if not why or ending in _CLOSED else why
            self._show_life()
            asked = _STOPPED if self._is_stopping else 0
            with suppress(DatabaseUnavailable):
                asked = await self._renew(run, child, tail) or asked
            if asked and not why:
                why, deadline = asked, time.monotonic() + self._workplace.settings.worker_grace_s
                ask_to_end(child)
        return why

    async def _renew(self, run: TrainingRun, child: Process, tail: TailSender) -> int:
        """Keep the claim and the last lines of the log; why the child should stop, else 0.

        Raises:
            DatabaseUnavailable: Postgres cannot be reached just now.
            RunInterrupted: the claim is lost. A child that closed its row just now is waited for.
        """
        known: dict[str, Any] = {"log_uri": log_uri(tail.path)}
        with suppress(OSError):  # the claim matters more than the log
            if (lines := tail.due(time.monotonic())) is not None:
                known["log_tail"] = lines
        try:
            with reaching_database():
                async with self._workplace.sessions.begin() as session:
                    control = await renew(session, run, **known)
        except RunInterrupted:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ENDING_S):
                    await child.wait()
            if child.returncode in _CLOSED:
                return 0
            raise
        return _CANCELLED if control.cancel_requested else 0

    async def _close(self, run: TrainingRun, ending: int, log_path: Path) -> None:
        """Close what the child left open; a run that it finished or refused is closed already."""
        if ending in (*_CLOSED, EXIT_LOST):
            return
        if ending == EXIT_STOPPED:
            ending = await self._why_stopped(run)
        if ending == _STOPPED:
            await self._write(lambda session: release(session, run))
        elif ending == _CANCELLED:
            why = f"Training run {run.id} was cancelled."
            await self._write(lambda session: finish(session, run, RunStatus.CANCELLED, error=why))
        elif ending == EXIT_UNAVAILABLE:
            await self._write(lambda session: release(session, run, wait_s=_DATABASE_WAIT_S))
        else:
            reason = how_it_ended(ending, log_path)
            await self._write(lambda session: retry(session, run, reason))

    async def _why_stopped(self, run: TrainingRun) -> int:
        """Why a child stopped by itself: it heard of the cancelling first, or somebody told it."""
        asked = [EXIT_STOPPED]

        async def ask(session: AsyncSession) -> None:
            control = await renew(session, run)
            asked.append(_CANCELLED if control.cancel_requested else EXIT_STOPPED)

        await self._write(ask)
        return asked[-1]

    async def _write(self, work: Callable[[AsyncSession], Awaitable[object]]) -> None:
        """Commit, waiting for a database that is away as long as the worker itself may wait."""
        while True:
            with suppress(DatabaseUnavailable), reaching_database():
                async with self._workplace.sessions.begin() as session:
                    await work(session)
                return
            if self._is_stopping:
                return  # the claim runs out by itself
            await asyncio.sleep(_RENEW_S)

    def _show_life(self) -> None:
        path = life_file(self._workplace.settings)
        with suppress(OSError):  # whoever looks for the sign finds the worker not well
            make_private(path.parent)
            path.touch()
