"""What `heed train …` asks for, and how it is done here or left to the worker."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from heed_cli.dataset import in_utc
from heed_cli.terminal import done, note, say
from heed_cli.training_runs import leave_to_worker
from heed_cli.workplace import this_command, trainer_settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.connect import database
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from services.trainer.config import TrainerSettings
    from services.trainer.runs import Finished

_NO_WISHES: Mapping[str, Any] = MappingProxyType({})
_MODELS = ("base_model", "gold", "model", "reward")  # parameters that may name a folder

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


def further(given: list[str]) -> dict[str, Any]:
    """Parameters given as name=value; the recipe checks names and values.

    Raises:
        InvalidInput: one is not of this form.
    """
    parts = [one.partition("=") for one in given]
    for name, equals, _ in parts:
        if not (name and equals):
            raise InvalidInput(f"--set {name} is not of the form name=value.")
    return {name: value for name, _, value in parts}


def found_from_anywhere(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with folders of models as whoever trains finds them, wherever it runs.

    What is no folder here is left as it is: a name, a hub id, an address, a model version.
    """
    return {name: _absolute(value) if name in _MODELS else value for name, value in recipe.items()}


def _absolute(value: Any) -> Any:
    from shared.ml.backbones import is_default_encoder

    if isinstance(value, list):
        return [_absolute(one) for one in value]
    if not isinstance(value, str) or is_default_encoder(value):
        return value
    folder, star, weight = value.partition("*")  # a reward may have a weight
    is_folder = bool(folder) and Path(folder).is_dir()
    return f"{Path(folder).absolute()}{star}{weight}" if is_folder else value


def request_of(
    kind: RunKind,
    recipe: dict[str, Any],
    dataset: Path | None,
    name: str,
    split: Mapping[str, Any] = _NO_WISHES,
) -> TrainingRequest:
    """What a run is asked for on the command line, wherever it will be done.

    Raises:
        InvalidInput: an option has a wrong value.
    """
    given = {key: value for key, value in recipe.items() if value is not None}
    try:
        return TrainingRequest(
            kind=kind,
            recipe=found_from_anywhere(given),
            dataset_file=str(dataset.absolute()) if dataset else None,
            model_name=name,
            command=this_command(),
            **split,
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).removeprefix("model_").replace("_", "-")
        raise InvalidInput(f"--{option} is wrong: {first['msg']}.") from None


def split_wished(
    test_after: datetime | None, test_newest: float | None, allowed_because: str | None
) -> dict[str, Any]:
    """How the dataset is to be split, as a request says it."""
    return {
        "test_after": in_utc(test_after),
        "test_newest": test_newest,
        "allow_near_duplicates": allowed_because,
    }


def checked_population(population: Path | None) -> str | None:
    """The table's path for whoever trains, once it is known to be one."""
    if population is None:
        return None
    from services.trainer.audit.population import read_population

    read_population(population)
    return str(population.absolute())


def train_or_queue(
    request: TrainingRequest,
    data_dir: Path | None,
    *,
    output: Path | None,
    queue: str | None,
    priority: int = 0,
) -> None:
    """Do the run here and tell what it has brought, or leave it to the worker.

    Raises:
        HeedError: it cannot be done; the message says why.
    """
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
    what = "report and weights" if version.kind == "policy" else "card and plots"
    say(f"  {what}: {finished.folder}")


def _accuracy(metrics: dict[str, Any]) -> str:
    low, high = metrics["pair_accuracy_low"], metrics["pair_accuracy_high"]
    return (
        f"{metrics['pair_accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}) on "
        f"{metrics['test_pairs']} held-out pairs; length alone {metrics['length_accuracy']:.3f}"
    )
