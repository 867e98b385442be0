"""`heed schedules list | add | edit | enable | disable | remove | presets | report | tick`."""

from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from heed_cli.deployment import Deployment
from heed_cli.schedule_words import (
    Written,
    checked,
    clock,
    in_words,
    merged,
    parameters,
    row_of,
    starts,
    told,
)
from heed_cli.schedule_words import samples as said
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done, hint, note
from shared.contracts.schedules import MAX_PRIORITY, MAX_SAMPLES, ScheduleIn
from shared.db.audit import person_name
from shared.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.trainer.workplace import Workplace
    from shared.schedules.stored import Owner

T = TypeVar("T")
_LATE = timedelta(minutes=1)  # a worker looks every few seconds
app = typer.Typer(help="Train by the clock, and by how much there is.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="As `heed schedules list` shows it.")]
Project = Annotated[int, typer.Option(min=1, help="The project it belongs to.")]
Cron = Annotated[
    str | None,
    typer.Option(help="Minute, hour, day of month, month, day of week: `0 2 * * *` is 02:00."),
]
TimeZone = Annotated[
    str | None, typer.Option(help="Whose clock the cron means, such as Europe/Berlin; UTC.")
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_SAMPLES, help="Train when so many are there; see --in-total."),
]
Task = Annotated[str | None, typer.Option(help="Count samples of this task type only.")]
AnyTask = Annotated[
    bool | None, typer.Option("--any-task/--all-tasks", help="Any one task must have so many.")
]
InTotal = Annotated[
    bool | None, typer.Option("--in-total/--new", help="Count all samples, or only new ones.")
]
Kind = Annotated[
    str | None, typer.Option(help="What to do: a kind of training run, or `monitoring`.")
]
Model = Annotated[str | None, typer.Option(help="Name the model is registered under.")]
More = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter of the recipe as name=value.")
]
Queue = Annotated[str | None, typer.Option(help="Queue of the workers that train it; cpu.")]
Priority = Annotated[
    int | None,
    typer.Option(min=-MAX_PRIORITY, max=MAX_PRIORITY, help="Higher ones are taken first; 0."),
]


@app.command("list")
def list_all(project: Project = 1, data_dir: DataDir = None) -> None:
    """The schedules: when each is due, how far its threshold is, what came of the last time."""
    from shared.schedules.stored import list_schedules

    table = _table("name", "due", "next", "samples", "starts", "last", "state")
    standings = _run(data_dir, lambda session: list_schedules(session, project))
    for standing in standings:
        table.add_row(*cells(*row_of(standing)))
    console.print(table)
    late = datetime.now(UTC) - _LATE
    for name in (one.schedule.name for one in standings if one.is_due_since(late)):
        note("overdue", f"{name}: does a worker run? `heed status` tells, `heed up` starts one")


@app.command()
def add(  # noqa: PLR0913 - each is a part of a schedule
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    cron: Cron = None,
    time_zone: TimeZone = None,
    samples: Samples = None,
    task: Task = None,
    any_task: AnyTask = None,
    in_total: InTotal = None,
    kind: Kind = "reward_embedding",
    model: Model = None,
    more: More = None,
    queue: Queue = None,
    priority: Priority = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Add a schedule: with --cron, with --samples, or with both, which must then be met."""
    wanted = merged(
        {},
        cron=cron,
        time_zone=time_zone,
        samples=samples,
        task_type=task,
        any_task=any_task,
        in_total=in_total,
        kind=kind,
        model_name=model,
        recipe=parameters(more),
        queue=queue,
        priority=priority,
    )
    _add(data_dir, project, name, checked(wanted))


@app.command()
def edit(  # noqa: PLR0913 - each is a part of a schedule
    name: Name,
    *,
    cron: Cron = None,
    time_zone: TimeZone = None,
    samples: Samples = None,
    task: Task = None,
    any_task: AnyTask = None,
    in_total: InTotal = None,
    kind: Kind = None,
    model: Model = None,
    more: More = None,
    queue: Queue = None,
    priority: Priority = None,
    no_cron: Annotated[bool, typer.Option("--no-cron", help="By its threshold alone.")] = False,
    no_threshold: Annotated[
        bool, typer.Option("--no-threshold", help="By its cron alone.")
    ] = False,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Change parts of a schedule; the others stay."""
    options = {
        "cron": cron,
        "time_zone": time_zone,
        "samples": samples,
        "task_type": task,
        "any_task": any_task,
        "in_total": in_total,
        "kind": kind,
        "model_name": model,
        "recipe": parameters(more),
        "queue": queue,
        "priority": priority,
    }
    dropped = {part for part, is_so in (("cron", no_cron), ("threshold", no_threshold)) if is_so}
    done(name, in_words(_change(data_dir, project, name, dropped, options)))


@app.command()
def enable(name: Name, project: Project = 1, data_dir: DataDir = None) -> None:
    """Switch a schedule on; what was due meanwhile is not made up for."""
    _change(data_dir, project, name, (), {"enabled": True})
    done(name, "on")


@app.command()
def disable(name: Name, project: Project = 1, data_dir: DataDir = None) -> None:
    """Switch a schedule off; what it has enqueued stays."""
    _change(data_dir, project, name, (), {"enabled": False})
    done(name, "off")


@app.command()
def remove(name: Name, project: Project = 1, data_dir: DataDir = None) -> None:
    """Take a schedule away; what it has enqueued stays."""
    from shared.schedules.stored import remove_schedule

    _run(data_dir, lambda session: remove_schedule(session, name, _owner(project)))
    done(name, "taken away")


@app.command()
def presets(
    names: Annotated[list[str] | None, typer.Argument(help="Which to install.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Install every one.")] = False,
    time_zone: TimeZone = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Install schedules that are ready made, or show them; one that is there already stays."""
    from heed_cli.schedule_presets import PRESETS

    wanted = list(PRESETS) if every else names or []
    if unknown := set(wanted) - set(PRESETS):
        raise InvalidInput(
            f"There is no preset {', '.join(sorted(unknown))}: give some of {', '.join(PRESETS)}."
        )
    if not wanted:
        _show_presets(PRESETS)
        return
    present = _run(data_dir, lambda session: _names(session, project))
    for name in wanted:
        if name in present:
            note(name, "is there already; `heed schedules edit` changes it")
            continue
        zone = {"time_zone": time_zone} if time_zone and PRESETS[name].cron else {}
        _add(data_dir, project, name, PRESETS[name].model_copy(update=zone))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A schedule of monitoring.")] = "monitoring",
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """What a monitoring found the last time, and what it warns of."""
    from shared.schedules.reports import find_report

    found = _run(data_dir, lambda session: find_report(session, name, project))
    table = _table("about", "average", "ratings")
    for one in found.averages:
        table.add_row(*cells(f"{one.kind} {one.name}", f"{one.average:.2f}", str(one.rated)))
    console.print(table)
    for line in told(found):
        done(*line)
    for warned in found.warnings:
        note(warned.kind.replace("_", " "), f"{warned.about}: {warned.value:.2f}")


@app.command()
def tick(data_dir: DataDir = None) -> None:
    """Enqueue what is due now, as the worker does every few seconds."""
    from heed_cli.workplace import at_workplace
    from services.trainer.schedules.keeping import tick_now
    from services.trainer.schedules.scheduler import Fired, Scheduler

    async def look(workplace: "Workplace") -> list[Fired]:
        return await tick_now(Scheduler(workplace.sessions))

    fired = at_workplace(data_dir, look)
    for one in fired:
        done(one.name, f"{one.outcome.replace('_', ' ')} {one.id or ''}".rstrip())
    if not fired:
        hint("Nothing is due.")


def _show_presets(known: dict[str, ScheduleIn]) -> None:
    table = _table("preset", "due", "samples", "starts")
    for name, wanted in known.items():
        table.add_row(*cells(name, clock(wanted), said(wanted), starts(wanted)))
    console.print(table)
    hint("heed schedules presets NAME … | --all installs them.")


def _add(data_dir: Path | None, project: int, name: str, wanted: ScheduleIn) -> None:
    from shared.schedules.stored import put_schedule

    async def put(session: "AsyncSession") -> None:
        if name in await _names(session, project):
            raise Conflict(f"There is a schedule {name}: `heed schedules edit {name}` changes it.")
        await put_schedule(session, name, wanted, _owner(project), datetime.now(UTC))

    _run(data_dir, put)
    done(name, in_words(wanted))


def put(data_dir: Path | None, project: int, name: str, wanted: ScheduleIn) -> None:
    """Store a schedule, in place of one of that name."""
    from shared.schedules.stored import put_schedule

    now = datetime.now(UTC)
    _run(data_dir, lambda session: put_schedule(session, name, wanted, _owner(project), now))
    done(name, in_words(wanted))


def _change(
    data_dir: Path | None, project: int, name: str, dropped: Collection[str], options: Written
) -> ScheduleIn:
    """The schedule, without some of its parts and with others changed."""
    from shared.schedules.stored import find_schedule, put_schedule

    async def change(session: "AsyncSession") -> ScheduleIn:
        found = await find_schedule(session, name, project)
        before = found.wanted.model_dump(mode="json", exclude=set(dropped))
        wanted = checked(merged(before, **options))
        await put_schedule(session, name, wanted, _owner(project), datetime.now(UTC))
        return wanted

    return _run(data_dir, change)


async def _names(session: "AsyncSession", project: int) -> set[str]:
    from shared.schedules.stored import list_schedules

    return {standing.schedule.name for standing in await list_schedules(session, project)}


def _owner(project: int) -> "Owner":
    from shared.schedules.stored import Owner

    return Owner(project, person_name())


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _run(data_dir: Path | None, work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    from heed_cli.database import with_session

    return with_session(Deployment.of(data_dir).settings, work)
