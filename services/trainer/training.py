"""`train_reward_model(…)`: the transformer reward model from Python, in one call."""

from pathlib import Path

from services.trainer.config import TrainerSettings
from services.trainer.execution import export_folder, train_here
from services.trainer.runs import Finished
from shared.config import load_settings
from shared.contracts.training import RunKind, TrainingRequest
from shared.db.connect import resolve_database_url


def train_reward_model(
    base_model: str = "bert-base-uncased",
    dataset: str | Path | None = None,
    output: str | Path | None = None,
    *,
    epochs: int = 3,
    batch_size: int = 8,
    learning_rate: float = 2e-5,
) -> Finished:
    """A transformer reward model, trained, gated and registered; `output` gets a copy.

    Args:
        base_model: a known name, a hub id or a local folder.
        dataset: a preferences file; without one, everything that people posted.
        output: folder for a copy of the finished model.
        epochs: most passes over the training pairs.
        batch_size: pairs in one optimizer step.
        learning_rate: peak of AdamW.

    Raises:
        HeedError: it could not be done; the message says why and what to do.
    """
    settings = load_settings(TrainerSettings)
    recipe = {
        "base_model": base_model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "logging_steps": 100,
    }
    request = TrainingRequest(
        kind=RunKind.REWARD_TRANSFORMER,
        recipe=recipe,
        dataset_file=str(Path(dataset).absolute()) if dataset else None,
        command="train_reward_model(…)",
    )
    finished = train_here(settings, resolve_database_url(settings, start=True), request)
    if output is not None:
        export_folder(finished, Path(output))
    return finished
