"""`heed train runs | show | log | cancel | resume`, and how a run is left to the worker."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, note, say, title
from heed_cli.workplace import at_workplace
from shared.contracts.schedules import MAX_PRIORITY
from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.audit import person_name
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.trainer.workplace import Workplace
    from shared.db.tables import TrainingRun
    from shared.jobs import Placed

T = TypeVar("T")
_FOLLOW_S = 1.0
_LAST_LOOKS = 20  # after a run has ended: its worker may take 15 s to see the child gone
_OVERLAP_CHARS = 256
_QUEUES = ("cpu", "gpu")
_MARKS = {RunStatus.SUCCEEDED: done, RunStatus.FAILED: note}

app = typer.Typer()
Run = Annotated[uuid.UUID, typer.Argument(help="As `heed train runs` shows it.")]
QueueName = Annotated[
    str | None,
    typer.Option("--queue-name", help="Queue to leave it to, `cpu` or `gpu`; implies --queue."),
]
Priority = Annotated[
    int,
    typer.Option(
        min=-MAX_PRIORITY, max=MAX_PRIORITY, help="With --queue: the highest is taken first."
    ),
]


def queue_wished(is_queued: bool, queue_name: str | None) -> str | None:
    """The queue a run is left to; None when it is to run here.

    Raises:
        InvalidInput: there is no such queue.
    """
    if queue_name is not None and queue_name not in _QUEUES:
        raise InvalidInput(f"--queue-name is one of {' and '.join(_QUEUES)}.")
    return queue_name or ("cpu" if is_queued else None)


def leave_to_worker(
    request: TrainingRequest, data_dir: Path | None, *, queue: str, priority: int
) -> None:
    """Put a run on a queue, and tell its id; the same one that waits already is not doubled."""
    from shared.db.tables import TrainingRun
    from shared.jobs import pending_key, place

    async def enqueue(session: "AsyncSession") -> "Placed":
        return await place(
            session,
            TrainingRun,
            kind=request.kind,
            params=request.model_dump(mode="json"),
            queue=queue,
            priority=priority,
            dedupe_key=pending_key(request, queue),
            created_by=person_name(),
        )

    run_id, is_new = _transact(data_dir, enqueue)
    tell = done if is_new else note
    waits = "" if is_new else ", the same training, waits already"
    tell("queued", f"{run_id}{waits}; `heed train show {run_id}` tells how it goes")


@app.command()
def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    project: Annotated[int, typer.Option(min=1, help="The project whose runs they are.")] = 1,
    data_dir: DataDir = None,
) -> None:
    """The newest training runs: who started them, how far they are, how they ended."""
    from services.trainer.queries import list_runs

    newest = _transact(data_dir, lambda session: list_runs(session, limit, project))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("run", "kind", "status", "done", "by", "seconds"):
        table.add_column(heading, no_wrap=True)
    for run in newest:
        seconds = f"{run.duration_s:.0f}" if run.duration_s is not None else ""
        kind = run.kind.removeprefix("reward_")
        by = run.created_by or ""
        table.add_row(*cells(str(run.id), kind, run.status, _far(run), by, seconds))
    console.print(table)
    for run in newest:
        if run.error:
            note(str(run.id), run.error.partition("\n")[0])


@app.command()
def show(run: Run, data_dir: DataDir = None) -> None:
    """One run: how far it is, what came of it, and where."""
    found = _transact(data_dir, lambda session: _find(session, run))
    told = found.progress
    title("run", f"{found.id} · {found.kind}")
    _MARKS.get(RunStatus(found.status), done)("status", _status(found))
    known = {
        "attempt": f"{found.attempt} of {found.max_attempts}, queue {found.queue}",
        "at work on it": found.owner,
        "step": told.get("step"),
        "loss": told.get("loss"),
        "seconds left": told.get("eta_s") if found.status == RunStatus.RUNNING else None,
        "dataset": found.dataset_id,
        "model": found.artifact_uri,
        "seconds": None if found.duration_s is None else round(found.duration_s),
        "log": found.log_uri,
    }
    for name, value in known.items():
        if value is not None:
            done(name, str(value))
    if found.error:
        note("why", found.error)


@app.command()
def log(
    run: Run,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it ends.")] = False,
    data_dir: DataDir = None,
) -> None:
    """What a run wrote: all of it on the worker's machine, elsewhere the last 16 KiB."""

    async def tell(workplace: "Workplace") -> None:
        told, looks = "", _LAST_LOOKS
        while True:
            async with workplace.sessions() as session:
                found = await _find(session, run)
            written = _written(found)
            if new := _after(told, written):
                say(new.rstrip("\n"))
            told = written
            looks -= found.status not in (RunStatus.QUEUED, RunStatus.RUNNING)
            if not follow or not looks or (looks < _LAST_LOOKS and _wrote_all(found)):
                return
            await asyncio.sleep(_FOLLOW_S)

    at_workplace(data_dir, tell)


@app.command()
def cancel(run: Run, data_dir: DataDir = None) -> None:
    """Cancel a waiting run; one at work saves a checkpoint and stops."""
    from shared import jobs
    from shared.db.tables import TrainingRun

    status = _transact(data_dir, lambda session: jobs.cancel(session, TrainingRun, run))
    done(str(run), "asked to stop" if status == RunStatus.RUNNING else status)


@app.command()
def resume(run: Run, data_dir: DataDir = None) -> None:
    """Let a cancelled, failed or interrupted run wait again; it goes on from its checkpoint.

    One that was stopped by Ctrl-C has left none, and begins anew.
    """
    from shared import jobs

    _transact(data_dir, lambda session: jobs.resume(session, run))
    done(str(run), "waits for the worker")


def _transact(data_dir: Path | None, work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    async def transact(workplace: "Workplace") -> T:
        async with workplace.sessions.begin() as session:
            return await work(session)

    return at_workplace(data_dir, transact)


async def _find(session: "AsyncSession", run_id: uuid.UUID) -> "TrainingRun":
    from shared.db.tables import TrainingRun
    from shared.errors import NotFound

    found = await session.get(TrainingRun, run_id)
    if found is None:
        raise NotFound(f"There is no training run {run_id}; `heed train runs` lists them.")
    return found


def _status(run: "TrainingRun") -> str:
    far = _far(run)
    is_stopping = run.cancel_requested and run.status == RunStatus.RUNNING
    asked = ", asked to stop" if is_stopping else ""
    return f"{run.status}{asked}{f', {far}' if far else ''}"


def _far(run: "TrainingRun") -> str:
    """The share that is done and the stage, of a run that began."""
    told = run.progress
    return f"{told['fraction']:.0%} {told['stage']}" if "fraction" in told else ""


def _written(run: "TrainingRun") -> str:
    from services.trainer.run_logs import path_here

    whole = path_here(run.log_uri)
    if whole is None:
        return run.log_tail or ""
    return whole.read_text(encoding="utf-8", errors="replace")


def _wrote_all(run: "TrainingRun") -> bool:
    """Whether nothing more comes of a run that has ended; a terminal's own stores nothing."""
    from services.trainer.run_logs import is_last

    return run.log_uri is None or is_last(run.log_tail, run.attempt)


def _after(told: str, written: str) -> str:
    """What of the log was not told yet, also when its beginning has been cut off meanwhile."""
    start = told.find(written[: min(len(told), _OVERLAP_CHARS)])
    return written[len(told) - start :] if told and start >= 0 else written
