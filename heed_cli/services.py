"""`heed up | down | status | logs | migrate`."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.deployment import (
    FEEDBACK_API,
    REWARD_SERVICE,
    SERVICES,
    Deployment,
    Step,
    bring_down,
    bring_up,
    is_ready,
    readiness,
)
from heed_cli.terminal import cells, console, done, hint, note, say, title, working
from shared.errors import HeedError, NotFound

app = typer.Typer()
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of this deployment; HEED_DATA_DIR or `.heed` when not given."),
]
_FOLLOW_S = 0.3
_COLOURS = {"ready": "green", "running": "green", "not ready": "yellow", "died": "red"}


@app.command()
def up(
    data_dir: DataDir = None,
    wait: Annotated[bool, typer.Option(help="Wait until every service is ready.")] = True,
) -> None:
    """Start everything that does not run yet: Postgres, schema, services, trainer.

    They go on when this terminal closes. Call it again after a crash: what runs is left alone.
    """
    deployment = Deployment.of(data_dir)
    title("heed up", str(deployment.settings.data_dir))
    with working("starting …"):
        for step in bring_up(deployment, wait=wait):
            _print(step)
    _print_next_steps(deployment)


@app.command()
def down(data_dir: DataDir = None) -> None:
    """Stop everything in order: intake, trainer, rewards, database. Nothing accepted is lost."""
    deployment = Deployment.of(data_dir)
    with working("stopping …"):
        steps = list(map(_print, bring_down(deployment)))
    if not steps:
        say("Nothing runs here.")


@app.command()
def status(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What runs, where, and with which model. Exit status 0 when all of it is ready."""
    deployment = Deployment.of(data_dir)
    found = list(_states(deployment))
    if as_json:
        typer.echo(json.dumps([asdict(state) for state in found], indent=2))
    else:
        console.print(_table(found))
        if all(state.is_fine for state in found if state.name == "postgres"):
            _print_promises(deployment)
    raise typer.Exit(0 if all(state.is_fine for state in found) else 1)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="One service; all when not given.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Lines of each.")] = 20,
    data_dir: DataDir = None,
) -> None:
    """What the services wrote."""
    processes = Deployment.of(data_dir).processes
    names = [service] if service else ["postgres", *SERVICES]
    existing = [name for name in names if processes.log(name).exists()]
    if not existing:
        raise NotFound(f"No log of {service or 'any service'} in {processes.logs}.")
    with ExitStack() as files:
        opened = {n: files.enter_context(processes.log(n).open(errors="replace")) for n in existing}
        for name, file in opened.items():
            _echo(name if len(opened) > 1 else "", file.readlines()[-lines:] if lines else ())
            file.seek(0, 2)
        while follow:
            for name, file in opened.items():
                _echo(name if len(opened) > 1 else "", file)
            time.sleep(_FOLLOW_S)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database schema up to date. `heed up` does it by itself."""
    from heed_cli.database import upgrade
    from shared.db.connect import database

    settings = Deployment.of(data_dir).settings
    with database(settings) as url:
        done("schema", upgrade(url))


@dataclass(frozen=True)
class _State:
    name: str
    state: str
    pid: int | None = None
    url: str | None = None
    up_s: int | None = None
    model: str | None = None

    @property
    def is_fine(self) -> bool:
        return self.state in ("ready", "running")


def _states(deployment: Deployment) -> Iterator[_State]:
    from shared.db import embedded

    if deployment.is_embedded:
        postgres = embedded.status(deployment.settings.data_dir)
        yield _State("postgres", "running" if postgres.running else "stopped", postgres.pid)
    for service in SERVICES:
        yield _state(deployment, service)


def _state(deployment: Deployment, service: str) -> _State:
    process = deployment.processes.find(service)
    if process is None:
        return _State(service, "stopped")
    if not process.is_alive:
        return _State(service, "died")
    up_s = int(time.time() - process.started_at)
    state = "ready" if is_ready(deployment, process) else "not ready"
    model = _model(process.url) if service == REWARD_SERVICE and process.url else None
    return _State(service, state, process.pid, process.url, up_s, model)


def _model(url: str) -> str | None:
    said = readiness(url) or {}
    return str(said["model"]) if "model" in said else None


def _table(states: Iterable[_State]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("service", "state", "pid", "up for", "address", "model"):
        table.add_column(heading)
    for state in states:
        colour = _COLOURS.get(state.state, "dim")
        row = cells(
            state.name,
            Text(state.state, colour),
            str(state.pid or ""),
            _duration(state.up_s),
            state.url or "",
            state.model or "",
        )
        table.add_row(*row)
    return table


def _print_promises(deployment: Deployment) -> None:
    """Erasures whose files are not done, and live models that must go by a date."""
    from heed_cli.erase import read_promises

    with suppress(HeedError):  # the states above say what is wrong
        for promise in read_promises(deployment.settings):
            note("erasure", promise)


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return ""
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def _print(step: Step) -> Step:
    (done if step.is_fine else note)(step.name, step.text)
    return step


def _print_next_steps(deployment: Deployment) -> None:
    if deployment.key_file.exists():
        say(f"\n  API key  {deployment.key_file.read_text().strip()}")
        hint(f"           kept in {deployment.key_file}")
    say(f"  API      {deployment.url(FEEDBACK_API)}/openapi.json")
    say("  Go on    heed status · heed logs -f · heed train --help · heed down")


def _echo(name: str, lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(f"{name:<15} {line.rstrip()}" if name else line.rstrip())
