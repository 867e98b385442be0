"""How work comes into a table, and how a person takes it out or puts it back."""

import hashlib
import json
import uuid
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, Unpack

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.columns import Json
from shared.db.rows import PENDING
from shared.db.tables import TrainingRun
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.jobs.fence import CHANNEL, FOREGROUND, STALE_AFTER_S, Work, claimed_now, noun

DEFAULT_QUEUE = "cpu"
_UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING)
_NEW_ATTEMPTS = 3  # that a resumed run gets


class Placement(TypedDict, total=False):
    """Where and when work waits; every key has a default in the table."""

    project_id: int
    queue: str
    priority: int
    dedupe_key: str | None
    run_after: datetime
    max_attempts: int
    created_by: str | None
    schedule: str | None
    due_at: datetime | None


class Placed(NamedTuple):
    """A waiting row, and whether it is a new one."""

    id: uuid.UUID
    is_new: bool


async def place(
    session: AsyncSession,
    table: type[Work],
    *,
    kind: str,
    params: Json,
    **placement: Unpack[Placement],
) -> Placed:
    """A new row that waits, or the one that nobody has begun under the same `dedupe_key`.

    The one that waits already gets the higher of both priorities.
    """
    values = {"id": new_id(), "kind": kind, "params": params, **placement}
    added = insert(table).values(**values)
    higher = func.greatest(col(table.priority), added.excluded.priority)
    row_id = await session.scalar(
        added.on_conflict_do_update(
            index_elements=["project_id", "dedupe_key"],
            index_where=text(PENDING),  # a literal: a plan for any value fits no index
            set_={"priority": higher},
        ).returning(col(table.id))
    )
    await _wake(session, placement.get("queue", DEFAULT_QUEUE))
    return Placed(uuid.UUID(str(row_id)), row_id == values["id"])


async def enqueue(
    session: AsyncSession,
    table: type[Work],
    *,
    kind: str,
    params: Json,
    **placement: Unpack[Placement],
) -> uuid.UUID:
    """The id of what `place` gives."""
    return (await place(session, table, kind=kind, params=params, **placement)).id


def pending_key(request: TrainingRequest, queue: str = DEFAULT_QUEUE) -> str:
    """The `dedupe_key` under which requests of the same training collapse while one waits.

    Same are kind, model name, recipe, dataset and split as they are written, and the queue; the
    command that would start it again does not count.
    """
    wanted = request.model_dump(mode="json", exclude={"command"}) | {"queue": queue}
    written = json.dumps(wanted, sort_keys=True, separators=(",", ":"))
    return f"same:{hashlib.sha256(written.encode()).hexdigest()}"


async def start_foreground(
    session: AsyncSession,
    table: type[Work],
    *,
    kind: str,
    params: Json,
    owner: str,
    created_by: str,
    **known: object,
) -> Work:
    """A row that this process works on at once; no worker ever claims it.

    `known` is what else its table keeps, such as the `code_version` of a training run.
    """
    values = {
        "id": new_id(),
        "kind": kind,
        "params": params,
        "queue": FOREGROUND,
        "status": RunStatus.RUNNING,
        "attempt": 1,
        "max_attempts": 1,
        "owner": owner,
        "created_by": created_by,
        **known,
        **claimed_now(STALE_AFTER_S),
    }
    added: Work = (await session.scalars(insert(table).values(**values).returning(table))).one()
    return added


async def cancel(
    session: AsyncSession, table: type[Work], row_id: uuid.UUID, *, project_id: int | None = None
) -> RunStatus:
    """Cancel waiting work at once, or ask whoever works on it to stop; the status from now on.

    Raises:
        NotFound: there is no such row, or it is of another project than the one given.
        Conflict: it is finished already.
    """
    row = await _locked(session, table, row_id, project_id)
    if row.status not in _UNFINISHED and not _goes_on_by_itself(row):
        raise Conflict(f"The {noun(table)} {row_id} is {row.status} already.")
    values: dict[str, Any] = {"cancel_requested": True}
    if row.status != RunStatus.RUNNING:
        values |= {"status": RunStatus.CANCELLED, "finished_at": func.now()}
    await session.execute(update(table).where(col(table.id) == row_id).values(**values))
    return RunStatus(values.get("status", row.status))


async def resume(
    session: AsyncSession, row_id: uuid.UUID, *, project_id: int | None = None
) -> RunStatus:
    """Let a cancelled, failed or interrupted run wait again, with new attempts; the status.

    It keeps the dataset it froze, and goes on from its newest checkpoint where that still lies.
    One that a person's terminal executed waits for a worker of the default queue.

    Raises:
        NotFound: there is no such run, or it is of another project than the one given.
        Conflict: it is not over, has succeeded, or the same training waits already.
    """
    run = await _locked(session, TrainingRun, row_id, project_id)
    if run.status in _UNFINISHED or run.status == RunStatus.SUCCEEDED:
        raise Conflict(
            f"The training run {row_id} is {run.status}: only one that was cancelled, that failed "
            "or that was interrupted can be resumed."
        )
    queue = DEFAULT_QUEUE if run.queue == FOREGROUND else run.queue
    waiting = update(TrainingRun).where(col(TrainingRun.id) == row_id)
    try:
        await session.execute(
            waiting.values(
                status=RunStatus.QUEUED,
                queue=queue,
                cancel_requested=False,
                max_attempts=run.attempt + _NEW_ATTEMPTS,
                run_after=func.now(),
                finished_at=None,
                owner=None,
                error=None,
            )
        )
    except IntegrityError:
        raise Conflict(
            f"The training run {row_id} need not be resumed: the same training waits already."
        ) from None
    await _wake(session, queue)
    return RunStatus.QUEUED


async def _locked(
    session: AsyncSession, table: type[Work], row_id: uuid.UUID, project_id: int | None
) -> Work:
    row = await session.get(table, row_id, with_for_update=True)
    if row is None or project_id not in (None, row.project_id):
        raise NotFound(f"There is no {noun(table)} {row_id}.")
    return row


def _goes_on_by_itself(row: Work) -> bool:
    """Whether a worker would take up an interrupted row again."""
    has_attempts = row.queue != FOREGROUND and row.attempt < row.max_attempts
    return row.status == RunStatus.INTERRUPTED and has_attempts


async def _wake(session: AsyncSession, queue: str) -> None:
    await session.execute(select(func.pg_notify(CHANNEL, queue)))
