"""`heed train embedding | reward | sbert`, and what `training_runs` adds about runs."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from heed_cli import training_runs
from heed_cli.dataset import TestAfter, TestNewest, in_utc
from heed_cli.services import DataDir
from heed_cli.terminal import done, note, say
from heed_cli.training_runs import Priority, QueueName, leave_to_worker, queue_wished
from heed_cli.workplace import this_command, trainer_settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.connect import database
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from services.trainer.config import TrainerSettings
    from services.trainer.runs import Finished

app = typer.Typer(help="Train a model from feedback.", no_args_is_help=True)
app.add_typer(training_runs.app)

_NO_WISHES: Mapping[str, Any] = MappingProxyType({})

BaseModel = Annotated[str | None, typer.Option(help="A known name, a hub id or a folder.")]
DatasetFile = Annotated[
    Path | None,
    typer.Option(help="JSON Lines of prompt, chosen, rejected; without: all posted feedback."),
]
Output = Annotated[Path | None, typer.Option(help="Also copy the finished model to this folder.")]
MinRated = Annotated[
    int | None, typer.Option(min=2, help="Fewest judgements to train on; HEED_MIN_RATED.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A further parameter as name=value; see docs/training.md."),
]
Queue = Annotated[bool, typer.Option("--queue", help="Leave it to the worker and return at once.")]
Name = Annotated[str, typer.Option(help="Name the model is registered under.")]
AllowNear = Annotated[
    str | None,
    typer.Option(
        "--allow-near-duplicates",
        help="Why the file's own split may put near-duplicates on both sides.",
    ),
]
Population = Annotated[
    Path | None,
    typer.Option(help="CSV or JSON of slice, value, share that the feedback should mirror."),
]


@app.command()
def embedding(  # noqa: PLR0913 - the flags people know
    *,
    mode: Annotated[
        Literal["default", "original"],
        typer.Option(help="`original` is the joint-embedding classifier."),
    ] = "default",
    base_model: BaseModel = None,
    dataset: DatasetFile = None,
    output: Output = None,
    min_rated: MinRated = None,
    test_after: TestAfter = None,
    test_newest: TestNewest = None,
    allow_near_duplicates: AllowNear = None,
    population: Population = None,
    more: Set = None,
    name: Name = "reward",
    queue: Queue = False,
    queue_name: QueueName = None,
    priority: Priority = 0,
    data_dir: DataDir = None,
) -> None:
    """Train the embedding reward model: a frozen encoder and a small head, in seconds."""
    recipe = {
        "mode": mode,
        "base_model": base_model,
        "min_rated": min_rated,
        "population": _checked(population),
        **_further(more or []),
    }
    split = _split(test_after, test_newest, allow_near_duplicates)
    request = request_of(RunKind.REWARD_EMBEDDING, recipe, dataset, name, split)
    wished = queue_wished(queue, queue_name)
    _train(request, data_dir, output=output, queue=wished, priority=priority)


@app.command()
def reward(  # noqa: PLR0913 - the flags people know
    *,
    base_model: Annotated[
        str, typer.Option(help="A known name, a hub id or a folder.")
    ] = "bert-base-uncased",
    dataset: DatasetFile = None,
    output: Output = None,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the pairs.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs in one optimizer step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-5,
    max_tokens: Annotated[int, typer.Option(min=16, help="Window of prompt and response.")] = 256,
    logging_steps: Annotated[int, typer.Option(min=1, help="Steps between reports.")] = 100,
    eval_steps: Annotated[
        int, typer.Option(min=1, help="Evaluate so often, and each epoch.")
    ] = 500,
    save_steps: Annotated[int, typer.Option(min=1, help="Save so often too.")] = 500,
    min_rated: MinRated = None,
    test_after: TestAfter = None,
    test_newest: TestNewest = None,
    allow_near_duplicates: AllowNear = None,
    population: Population = None,
    more: Set = None,
    name: Name = "reward",
    queue: Queue = False,
    queue_name: QueueName = None,
    priority: Priority = 0,
    data_dir: DataDir = None,
) -> None:
    """Fine-tune a transformer with one output as the reward model."""
    recipe = {
        "base_model": base_model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "max_tokens": max_tokens,
        "logging_steps": logging_steps,
        "eval_steps": eval_steps,
        "save_steps": save_steps,
        "min_rated": min_rated,
        "population": _checked(population),
        **_further(more or []),
    }
    split = _split(test_after, test_newest, allow_near_duplicates)
    request = request_of(RunKind.REWARD_TRANSFORMER, recipe, dataset, name, split)
    wished = queue_wished(queue, queue_name)
    _train(request, data_dir, output=output, queue=wished, priority=priority)


@app.command()
def sbert() -> None:
    """Train the original recipe with settings from the environment only."""
    from services.trainer.config import SbertSettings
    from shared.config import load_settings

    settings = load_settings(SbertSettings)
    recipe = {
        "mode": "original",
        "base_model": settings.sbert_model,
        "good_rating": settings.sbert_good_rating,
        "test_share": settings.sbert_test_share,
        "seed": settings.sbert_seed,
    }
    request = request_of(RunKind.REWARD_EMBEDDING, recipe, None, "reward")
    _train(request, None, output=None, queue=None)


def _further(given: list[str]) -> dict[str, Any]:
    """Parameters given as name=value; the recipe checks names and values.

    Raises:
        InvalidInput: one is not of this form.
    """
    parts = [one.partition("=") for one in given]
    for name, equals, _ in parts:
        if not (name and equals):
            raise InvalidInput(f"--set {name} is not of the form name=value.")
    return {name: value for name, _, value in parts}


def request_of(
    kind: RunKind,
    recipe: dict[str, Any],
    dataset: Path | None,
    name: str,
    split: Mapping[str, Any] = _NO_WISHES,
) -> TrainingRequest:
    """What a run is asked for on the command line.

    Raises:
        InvalidInput: an option has a wrong value.
    """
    try:
        return TrainingRequest(
            kind=kind,
            recipe={key: value for key, value in recipe.items() if value is not None},
            dataset_file=str(dataset.absolute()) if dataset else None,
            model_name=name,
            command=this_command(),
            **split,
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removeprefix("model_").replace("_", "-")
        raise InvalidInput(f"--{option} is wrong: {first['msg']}.") from None


def _split(
    test_after: datetime | None, test_newest: float | None, allowed_because: str | None
) -> dict[str, Any]:
    return {
        "test_after": in_utc(test_after),
        "test_newest": test_newest,
        "allow_near_duplicates": allowed_because,
    }


def _checked(population: Path | None) -> str | None:
    """The table's path for whoever trains, once it is known to be one."""
    if population is None:
        return None
    from services.trainer.audit.population import read_population

    read_population(population)
    return str(population.absolute())


def _train(
    request: TrainingRequest,
    data_dir: Path | None,
    *,
    output: Path | None,
    queue: str | None,
    priority: int = 0,
) -> None:
    if queue is not None and output is not None:
        raise InvalidInput(
            "--queue returns before there is a model to copy: leave out --output or --queue."
        )
    if queue is not None:
        leave_to_worker(request, data_dir, queue=queue, priority=priority)
        return
    finished = train_with_bar(request, trainer_settings(data_dir))
    report(finished)
    if output is not None:
        from services.trainer.execution import export_folder

        export_folder(finished.folder, output)
        done("copied", str(output))


def train_with_bar(request: TrainingRequest, settings: "TrainerSettings") -> "Finished":
    """The finished run, executed in this process with a progress bar."""
    from services.trainer.execution import train_here
    from services.trainer.progress import terminal_bar

    with database(settings) as url, terminal_bar() as show:
        return train_here(
            settings, url, request, show=show, notice=lambda text: note("interrupted", text)
        )


def report(finished: "Finished") -> None:
    """Tell what a run has brought."""
    from services.trainer.gates import explain

    version, metrics = finished.version, finished.version.metrics
    done("model", f"{version.name} version {version.version}, run {finished.run_id}")
    if metrics.get("pair_accuracy") is not None:
        done("accuracy", _accuracy(metrics))
    tell = done if finished.is_live else note
    tell("gate", explain(finished.gate))
    tell("live", "yes" if finished.is_live else "no; `heed models promote` decides otherwise")
    say(f"  card and plots: {finished.folder}")


def _accuracy(metrics: dict[str, Any]) -> str:
    low, high = metrics["pair_accuracy_low"], metrics["pair_accuracy_high"]
    return (
        f"{metrics['pair_accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) on "
        f"{metrics['test_pairs']} held-out pairs; length alone {metrics['length_accuracy']:.3f}"
    )
