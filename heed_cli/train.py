"""`heed train embedding | reward | sbert`, beside the policies and what is told of runs."""

from typing import Annotated, Literal

import typer

from heed_cli import train_policy, training_runs
from heed_cli.dataset import TestAfter, TestNewest
from heed_cli.services import DataDir
from heed_cli.training_requests import (
    AllowNear,
    BaseModel,
    DatasetFile,
    MinRated,
    Name,
    Output,
    Population,
    Queue,
    Set,
    checked_population,
    further,
    request_of,
    split_wished,
    train_or_queue,
)
from heed_cli.training_runs import Priority, QueueName, queue_wished
from shared.contracts.training import RunKind

app = typer.Typer(help="Train a model from feedback.", no_args_is_help=True)
app.add_typer(train_policy.app)
app.add_typer(training_runs.app)


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
        "population": checked_population(population),
        **further(more or []),
    }
    split = split_wished(test_after, test_newest, allow_near_duplicates)
    request = request_of(RunKind.REWARD_EMBEDDING, recipe, dataset, name, split)
    wished = queue_wished(queue, queue_name)
    train_or_queue(request, data_dir, output=output, queue=wished, priority=priority)


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
        "population": checked_population(population),
        **further(more or []),
    }
    split = split_wished(test_after, test_newest, allow_near_duplicates)
    request = request_of(RunKind.REWARD_TRANSFORMER, recipe, dataset, name, split)
    wished = queue_wished(queue, queue_name)
    train_or_queue(request, data_dir, output=output, queue=wished, priority=priority)


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
    train_or_queue(request, None, output=None, queue=None)
