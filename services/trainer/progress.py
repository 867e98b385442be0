"""How far a run is: told by the recipe, kept in the run's row, shown on a terminal."""

import asyncio
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.trainer.eta import Eta
from services.trainer.faults import where
from services.trainer.trackers import Tracker
from shared.db.columns import Json
from shared.db.faults import reaching_database
from shared.db.tables import TrainingRun
from shared.errors import DatabaseUnavailable, RunInterrupted
from shared.jobs import renew
from shared.logs import get_logger

Show = Callable[[float, str], None]

BEAT_S = 1.0
_SILENT_BEATS = 10  # an unchanged row is written again after this many
_KEPT = ("step", "loss")  # shown until a newer report has them


@dataclass
class Reporter:
    """What a recipe calls to report; it raises as soon as the run should stop.

    A recipe that keeps checkpoints looks at `stop_requested` between two steps: once it says why,
    the recipe saves and then reports, which ends it. One that does not look ends at its next
    report, and what it did since its last checkpoint is done again.

    Attributes:
        show: draws the progress for whoever watches.
        latest: the last report, as it is kept in the run's row.
        stop_reason: why the run must not go on, once there is a reason.
        is_lost: whether the claim is gone: then nothing may be written any more.
        clock: seconds that never go back.
        tracker: keeps the numbers of every step too, where the run asks for one.
    """

    show: Show | None = None
    latest: Json = field(default_factory=dict)
    stop_reason: str | None = None
    is_lost: bool = False
    clock: Callable[[], float] = time.monotonic
    tracker: Tracker | None = None
    _eta: Eta = field(default_factory=Eta)

    @property
    def stop_requested(self) -> str | None:
        """Why the run should stop after saving a checkpoint; None while it may go on."""
        return None if self.is_lost else self.stop_reason

    def ask_to_stop(self, why: str) -> None:
        """Let the recipe save a checkpoint and stop; the first reason counts."""
        self.stop_reason = self.stop_reason or why

    def __call__(self, fraction: float, stage: str, numbers: dict[str, float]) -> None:
        """Report a fraction done (0–1), the stage, and numbers to show, such as step and loss.

        Raises:
            RunInterrupted: the run was asked to stop, was cancelled, or its claim was lost.
        """
        if self.stop_reason:
            raise RunInterrupted(self.stop_reason)
        left = self._eta.left(fraction, stage, self.clock())
        known = {name: self.latest[name] for name in _KEPT if name in self.latest}
        told = {name: numbers[name] for name in _KEPT if name in numbers}
        self.latest = {
            "fraction": round(fraction, 4),
            "stage": stage,
            "numbers": numbers,
            **known,
            **told,
            "eta_s": None if left is None else round(left),
        }
        if self.show is not None:
            self.show(fraction, stage)

    def track(self, step: int, numbers: Mapping[str, float]) -> None:
        """Let the run's tracker, if it has one, keep what was measured at a step."""
        if self.tracker is not None:
            self.tracker.log(step, numbers)


def track(progress: object, step: int, numbers: Mapping[str, float]) -> None:
    """Let the tracker behind `progress`, if there is one, keep the numbers of a step."""
    if isinstance(progress, Reporter):
        progress.track(step, numbers)


def stop_requested(progress: object) -> str | None:
    """Why a recipe should save and stop; None while it may go on, or when nobody could ask."""
    reason: str | None = getattr(progress, "stop_requested", None)
    return reason


async def beat(
    sessions: async_sessionmaker[AsyncSession], run: TrainingRun, reporter: Reporter
) -> None:
    """Keep a run's claim and progress fresh until cancelled; tells the reporter when to stop."""
    written, silent = None, 0
    while not reporter.is_lost:
        if reporter.latest != written or silent >= _SILENT_BEATS:
            written, silent = reporter.latest, 0
            try:
                await _write(sessions, run, reporter)
            except Exception as error:  # noqa: BLE001 - a silent run would be taken for dead
                get_logger("trainer").error("no heartbeat", run=str(run.id), where=where(error))
        silent += 1
        await asyncio.sleep(BEAT_S)


async def _write(
    sessions: async_sessionmaker[AsyncSession], run: TrainingRun, reporter: Reporter
) -> None:
    try:
        with reaching_database():
            async with sessions.begin() as session:
                control = await renew(session, run, progress=_finite(reporter.latest))
    except RunInterrupted as error:
        reporter.is_lost, reporter.stop_reason = True, error.detail
    except DatabaseUnavailable:  # training goes on while Postgres restarts
        get_logger("trainer").warning("the database is away", run=str(run.id))
    else:
        if control.cancel_requested:
            reporter.ask_to_stop(f"Training run {run.id} was cancelled.")


def _finite(value: Any) -> Any:
    """The report as JSON can keep it: a loss that is no number any more is null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def terminal_bar() -> Iterator[Show]:
    """A progress bar on the terminal; elsewhere one plain line for each stage."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines()
        return
    bar = Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with bar:
        task = bar.add_task("start", total=1.0)
        yield lambda fraction, stage: bar.update(task, completed=fraction, description=stage)


def plain_lines() -> Show:
    """One line on standard error for each stage."""
    told: list[str] = []

    def show(fraction: float, stage: str) -> None:
        if told[-1:] != [stage]:
            told.append(stage)
            sys.stderr.write(f"{fraction:4.0%} {stage}\n")

    return show
