"""`train_reward_model(…)` and `train_with_ppo(…)`: a training run from Python, in one call."""

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
    recipe = {
        "base_model": base_model,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "logging_steps": logging_steps,
        "eval_steps": eval_steps,
        "save_steps": save_steps,
    }
    return _trained(
        TrainingRequest(
            kind=RunKind.REWARD_TRANSFORMER,
            recipe=recipe,
            dataset_file=str(Path(dataset).absolute()) if dataset else None,
            command="train_reward_model(…)",
        ),
        output,
    )


def train_with_ppo(  # noqa: PLR0913 - the parameters people know
    base_model: str = "gpt2",
    reward_model: str | Path | None = None,
    output: str | Path | None = None,
    *,
    epochs: int = 1,
    batch_size: int = 16,
    mini_batch_size: int = 4,
    gradient_accumulation: int = 1,
    learning_rate: float = 1.4e-5,
    ppo_epochs: int = 4,
    target_kl: float = 0.1,
    seed: int = 42,
) -> Finished:
    """A policy tuned with PPO on the prompts of the feedback, gated and registered.

    Args:
        base_model: the policy to start from: a known name, a hub id or a local folder.
        reward_model: a version such as `reward@champion`, a folder or the URL of a reward service;
            without one, the live reward model.
        output: folder for a copy of the finished policy.
        epochs: passes over the prompts.
        batch_size: prompts that are responded to at once.
        mini_batch_size: responses in one backward pass.
        gradient_accumulation: backward passes in one optimizer step.
        learning_rate: of AdamW.
        ppo_epochs: passes over each batch of responses.
        target_kl: ends the passes 1.5 times so far from the old policy, nats a token.
        seed: equal seeds give equal weights.

    Raises:
        HeedError: it could not be done; the message says why and what to do.
    """
    recipe = {
        "base_model": base_model,
        "reward": [str(reward_model)] if reward_model is not None else None,
        "epochs": epochs,
        "batch_size": batch_size,
        "mini_batch_size": mini_batch_size,
        "gradient_accumulation": gradient_accumulation,
        "learning_rate": learning_rate,
        "ppo_epochs": ppo_epochs,
        "target_kl": target_kl,
        "seed": seed,
    }
    request = TrainingRequest(
        kind=RunKind.PPO,
        recipe={name: value for name, value in recipe.items() if value is not None},
        model_name="policy",
        command="train_with_ppo(…)",
    )
    return _trained(request, output)


def _trained(request: TrainingRequest, output: str | Path | None) -> Finished:
    settings = load_settings(TrainerSettings)
    with running_database(settings) as url:
        finished = train_here(settings, url, request)
    if output is not None:
        export_folder(finished.folder, Path(output))
    return finished
