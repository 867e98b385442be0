"""`heed retrain --every N`, `heed retrain list | off`: schedules by a threshold alone."""

import re
from typing import Annotated

import typer

from heed_cli import schedules
from heed_cli.schedule_words import checked
from heed_cli.schedules import AnyTask, Project, Task
from heed_cli.services import DataDir
from heed_cli.workplace import this_command
from shared.contracts.schedules import MAX_SAMPLES, NAME_PATTERN
from shared.contracts.training import RunKind
from shared.errors import InvalidInput

MAX_NAME = 100
app = typer.Typer(help="Train again whenever enough new feedback has come.")


@app.callback(invoke_without_command=True)
def retrain(  # noqa: PLR0913 - each is an option of the command
    context: typer.Context,
    *,
    every: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SAMPLES, help="Train when so many new samples have come."),
    ] = None,
    task: Task = None,
    any_task: AnyTask = None,
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
    counted = task or ("any-task" if any_task else None)
    chosen = "-".join(filter(None, (model, counted))) if name is None else name
    _require_names(model=model, name=chosen)
    wanted = checked(
        {
            "threshold": {"samples": every, "task_type": task, "any_task": bool(any_task)},
            "run": {"kind": kind, "model_name": model, "command": this_command()},
        }
    )
    schedules.put(data_dir, project, chosen, wanted)


def _require_names(*, model: str, name: str) -> None:
    if not 1 <= len(model) <= MAX_NAME:
        raise InvalidInput(f"--model has 1 to {MAX_NAME} characters.")
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InvalidInput(
            f"`{name}` is no name: give --name with 1 to {MAX_NAME} letters, digits, dots, dashes "
            "and underscores."
        )


@app.command("list")
def list_all(project: Project = 1, data_dir: DataDir = None) -> None:
    """The schedules, and how far the threshold of each is."""
    schedules.list_all(project=project, data_dir=data_dir)


@app.command()
def off(
    name: Annotated[str, typer.Argument(help="As `heed retrain list` shows it.")],
    project: Project = 1,
    data_dir: DataDir = None,
) -> None:
    """Take a threshold away; runs that wait already stay."""
    schedules.remove(name, project=project, data_dir=data_dir)
