"""`heed retrain --every N`, `heed retrain list | off`."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from heed_cli.deployment import Deployment
from heed_cli.services import DataDir
from heed_cli.terminal import cells, console, done
from heed_cli.workplace import this_command
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.audit import person_name
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from services.feedback_api.thresholds import Threshold

T = TypeVar("T")
MAX_SAMPLES = 10_000_000
MAX_NAME = 100
app = typer.Typer(help="Train again whenever enough new feedback has come.")
Project = Annotated[int, typer.Option(min=1, help="The project whose feedback counts.")]


@app.callback(invoke_without_command=True)
def retrain(  # noqa: PLR0913 - each is an option of the command
    context: typer.Context,
    *,
    every: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SAMPLES, help="Train when so many new samples have come."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Count samples of this task type only.")] = None,
    any_task: Annotated[
        bool, typer.Option("--any-task", help="Train when any single task type has so many.")
    ] = False,
    kind: Annotated[RunKind, typer.Option(help="What to train.")] = RunKind.REWARD_EMBEDDING,
    model: Annotated[str, typer.Option(help="Name the model is registered under.")] = "reward",
    name: Annotated[
        str | None, typer.Option(help="Name of this threshold; without: of the model and task.")
    ] = None,
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Train again whenever enough new feedback has come; setting it again changes it."""
    if context.invoked_subcommand is not None:
        return
    if every is None:
        raise InvalidInput(
            "Give --every NUMBER, or `heed retrain list`, or `heed retrain off NAME`."
        )
    if task is not None and any_task:
        raise InvalidInput("Give either --task NAME or --any-task.")
    if kind is RunKind.REWARD_ADDED:
        raise InvalidInput("A model that was made elsewhere is not trained; add it again by hand.")
    from services.feedback_api.thresholds import Threshold, set_threshold

    counted = task or ("any-task" if any_task else None)
    chosen = "-".join(filter(None, (model, counted))) if name is None else name
    _require_names(model=model, name=chosen)
    threshold = Threshold(new_samples=every, task_type=task, any_task=any_task)
    run = TrainingRequest(kind=kind, model_name=model, command=this_command())
    _run(
        data_dir,
        lambda session: set_threshold(
            session, chosen, threshold, run, project_id=project, actor=person_name()
        ),
    )
    done(chosen, f"trains {model} at every {every} new samples" + _of_what(threshold))


def _require_names(**names: str) -> None:
    for option, given in names.items():
        if not 1 <= len(given) <= MAX_NAME:
            raise InvalidInput(f"--{option} has 1 to {MAX_NAME} characters.")


def _of_what(threshold: "Threshold") -> str:
    if threshold.any_task:
        return " of any one task"
    return f" of {threshold.task_type}" if threshold.task_type else ""


@app.command("list")
def list_all(project: Project = 1, data_dir: DataDir = None) -> None:
    """The thresholds, and how far each is."""
    from services.feedback_api.thresholds import list_thresholds

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "samples", "task", "trains", "state"):
        table.add_column(heading, no_wrap=True)
    for standing in _run(data_dir, lambda session: list_thresholds(session, project)):
        threshold, run = standing.threshold, standing.run
        state = Text("on", "green") if standing.is_enabled else Text("off", "red")
        samples = f"{standing.count} of {threshold.new_samples}"
        trains = f"{run.model_name} ({run.kind.removeprefix('reward_')})"
        task = threshold.task_type or ("any one" if threshold.any_task else "all")
        table.add_row(*cells(standing.name, samples, task, trains, state))
    console.print(table)


@app.command()
def off(
    name: Annotated[str, typer.Argument(help="As `heed retrain list` shows it.")],
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Take a threshold away; runs that wait already stay."""
    from services.feedback_api.thresholds import remove_threshold

    _run(
        data_dir,
        lambda session: remove_threshold(session, name, project_id=project, actor=person_name()),
    )
    done(name, "taken away")


def _run(data_dir: Path | None, work: "Callable[[AsyncSession], Awaitable[T]]") -> T:
    from heed_cli.database import with_session

    return with_session(Deployment.of(data_dir).settings, work)
