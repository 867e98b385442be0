"""How far a run is: told by the recipe, kept in the run's row, shown on a terminal."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.trainer.faults import where
from shared.db.columns import Json
from shared.db.faults import reaching_database
from shared.db.tables import TrainingRun
from shared.errors import DatabaseUnavailable, RunInterrupted
from shared.jobs import renew
from shared.logs import get_logger

Show = Callable[[float, str], None]

BEAT_S = 1.0
_SILENT_BEATS = 10  # an unchanged row is written again after this many


@dataclass
class Reporter:
    """What a recipe calls to report; it raises as soon as the run should stop.

    Attributes:
        show: draws the progress for whoever watches.
        latest: the last report, as it is kept in the run's row.
        stop_reason: why the run must not go on, once there is a reason.
    """

    show: Show | None = None
    latest: Json = field(default_factory=dict)
    stop_reason: str | None = None

    def __call__(self, fraction: float, stage: str, numbers: dict[str, float]) -> None:
        """Report a fraction done (0–1), the stage, and numbers to show.

        Raises:
            RunInterrupted: the run was cancelled or its claim was lost.
        """
        if self.stop_reason:
            raise RunInterrupted(self.stop_reason)
        self.latest = {"fraction": round(fraction, 4), "stage": stage, "numbers": numbers}
        if self.show is not None:
            self.show(fraction, stage)


async def beat(
    sessions: async_sessionmaker[AsyncSession], run: TrainingRun, reporter: Reporter
) -> None:
    """Keep a run's claim and progress fresh until cancelled; tells the reporter when to stop."""
    written, silent = None, 0
    while reporter.stop_reason is None:
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
                control = await renew(session, run, progress=reporter.latest)
    except RunInterrupted as error:
        reporter.stop_reason = error.detail
    except DatabaseUnavailable:  # training goes on while Postgres restarts
        get_logger("trainer").warning("the database is away", run=str(run.id))
    else:
        if control.cancel_requested:
            reporter.stop_reason = f"Training run {run.id} was cancelled."


@contextmanager
def terminal_bar() -> Iterator[Show]:
    """A progress bar on the terminal; elsewhere one plain line for each stage."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
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


def _plain_lines() -> Show:
    told: list[str] = []

    def show(fraction: float, stage: str) -> None:
        if told[-1:] != [stage]:
            told.append(stage)
            sys.stderr.write(f"{fraction:4.0%} {stage}\n")

    return show
