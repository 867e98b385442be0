"""The fence around a claimed row: which attempt may write, and what every module here shares."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, extract, func
from sqlmodel import col

from shared.contracts.values import RunStatus
from shared.db.tables import Job, TrainingRun
from shared.errors import RunInterrupted

Work = TypeVar("Work", TrainingRun, Job)

CHANNEL = "heed_work"
FOREGROUND = "foreground"  # the queue of runs that a person's own terminal executes
STALE_AFTER_S = 60
FRESH = {"synchronize_session": False, "populate_existing": True}


@dataclass(frozen=True)
class Control:
    """What the queue tells whoever works on a row."""

    cancel_requested: bool


def held(row: Work) -> ColumnElement[bool]:
    """The fence: this row, in this attempt, still running."""
    table = type(row)
    return and_(
        col(table.id) == row.id,
        col(table.attempt) == row.attempt,
        col(table.status) == RunStatus.RUNNING,
    )


def expired(table: type[Work]) -> ColumnElement[bool]:
    """Rows said to be running whose claim was not renewed in time."""
    running = col(table.status) == RunStatus.RUNNING
    return and_(running, col(table.lease_until) < func.now())


def claimed_now(lease_s: float) -> dict[str, Any]:
    """What a claim writes of time: it begins now and runs out unless it is renewed."""
    return {
        "started_at": func.now(),
        "heartbeat_at": func.now(),
        "lease_until": func.now() + timedelta(seconds=lease_s),
        "finished_at": None,
    }


def lasted(table: type[Work], until: SQLColumnExpression[Any]) -> dict[str, Any]:
    """How many seconds an attempt took; of a silent one, until it was last heard of."""
    if table is not TrainingRun:
        return {}
    seconds = extract("epoch", until - col(table.started_at))
    return {"duration_s": func.greatest(seconds, 0)}


def lost(row: Work) -> RunInterrupted:
    """What to raise when a write under a claim found no row."""
    return RunInterrupted(
        f"Attempt {row.attempt} of {noun(type(row))} {row.id} lost its claim; it was taken "
        "over, cancelled or marked interrupted."
    )


def noun(table: type[Work]) -> str:
    """How messages call a row of the table."""
    return "training run" if table is TrainingRun else "job"
