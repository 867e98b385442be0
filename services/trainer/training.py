"""`train_reward_model(…)`: the transformer reward model from Python, in one call."""

from pathlib import Path

from services.trainer.config import TrainerSettings
from services.trainer.execution import export_folder, train_here
from services.trainer.runs import Finished
from shared.config import load_settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.connect import database as running_database


def train_reward_model(  # noqa: PLR0913 - the parameters people know
    base_model: str = "bert-base-uncased",
    dataset: str | Path | None = None,
    output: str | Path | None = None,
    *,
    epochs: int = 3,
    batch_size: int = 8,
    learning_rate: float = 2e-5,
    logging_steps: int = 100,
    eval_steps: int = 500,
    save_steps: int = 500,
) -> Finished:
    """A transformer reward model, trained, gated and registered; `output` gets a copy.

    Args:
        base_model: a known name, a hub id or a local folder.
        dataset: a preferences file; without one, everything that people posted.
        output: folder for a copy of the finished model.
        epochs: most passes over the training pairs.
        batch_size: pairs in one optimizer step.
        learning_rate: peak of AdamW.
        logging_steps: optimizer steps between two reports.
        eval_steps: evaluate so often, and after each epoch.
        save_steps: keep a checkpoint so often, and after each epoch.

    Raises:
        HeedError: it could not be done; the message says why and what to do.
    """
    settings = load_settings(TrainerSettings)
    recipe = {
        "base_model": base_model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "logging_steps": logging_steps,
        "eval_steps": eval_steps,
        "save_steps": save_steps,
    }
    request = TrainingRequest(
        kind=RunKind.REWARD_TRANSFORMER,
        recipe=recipe,
        dataset_file=str(Path(dataset).absolute()) if dataset else None,
        command="train_reward_model(…)",
    )
    with running_database(settings) as url:
        finished = train_here(settings, url, request)
    if output is not None:
        export_folder(finished.folder, Path(output))
    return finished
