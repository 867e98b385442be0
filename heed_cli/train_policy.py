"""`heed train sft | dpo | kto | ppo | grpo | rloo`: one command for each way to tune a policy."""

from typing import Annotated, Any

import typer

from heed_cli.dataset import TestAfter, TestNewest
from heed_cli.services import DataDir
from heed_cli.training_requests import (
    AllowNear,
    BaseModel,
    DatasetFile,
    MinRated,
    Output,
    Queue,
    Set,
    further,
    request_of,
    split_wished,
    train_or_queue,
)
from heed_cli.training_runs import Priority, QueueName, queue_wished
from shared.contracts.training import RunKind

app = typer.Typer()

_METHODS = {
    RunKind.SFT: "Imitate responses that people chose, corrected or rated four stars.",
    RunKind.DPO: "Prefer what people preferred; needs comparisons and no reward model.",
    RunKind.KTO: "Learn from thumbs and ratings, one response at a time.",
    RunKind.PPO: "Write, be judged, move a little; with any reward on texts.",
    RunKind.GRPO: "Write several responses to each prompt and favour the better ones.",
    RunKind.RLOO: "The same against the mean of the others; simpler and steadier.",
}

Reward = Annotated[
    list[str] | None,
    typer.Option(
        help="reward@champion, a folder, a URL, length:20-120, require:… or forbid:…, each with "
        "*weight; may be given again. Without: the live reward model."
    ),
]
Gold = Annotated[
    str | None, typer.Option(help="A second reward model that only judges; see docs/policies.md.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the data.")]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Examples, or prompts to respond to, at once.")
]
LearningRate = Annotated[float | None, typer.Option(help="Peak learning rate.")]
LoraRank = Annotated[int | None, typer.Option(min=0, help="Train adapters only; 0: all weights.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Equal seeds give equal weights.")]
ReportTo = Annotated[str | None, typer.Option(help="A tracker too: tensorboard, mlflow or wandb.")]
PolicyName = Annotated[str, typer.Option(help="Name the policy is registered under.")]


def _add(kind: RunKind) -> None:
    def command(  # noqa: PLR0913 - the flags people know
        *,
        base_model: BaseModel = None,
        reward: Reward = None,
        gold: Gold = None,
        dataset: DatasetFile = None,
        output: Output = None,
        epochs: Epochs = None,
        batch_size: BatchSize = None,
        learning_rate: LearningRate = None,
        lora_rank: LoraRank = None,
        seed: Seed = None,
        report_to: ReportTo = None,
        min_rated: MinRated = None,
        test_after: TestAfter = None,
        test_newest: TestNewest = None,
        allow_near_duplicates: AllowNear = None,
        more: Set = None,
        name: PolicyName = "policy",
        queue: Queue = False,
        queue_name: QueueName = None,
        priority: Priority = 0,
        data_dir: DataDir = None,
    ) -> None:
        recipe: dict[str, Any] = {
            "base_model": base_model,
            "reward": reward or None,
            "gold": gold,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "lora_rank": lora_rank,
            "seed": seed,
            "report_to": report_to,
            "min_rated": min_rated,
            **further(more or []),
        }
        split = split_wished(test_after, test_newest, allow_near_duplicates)
        request = request_of(kind, recipe, dataset, name, split)
        wished = queue_wished(queue, queue_name)
        train_or_queue(request, data_dir, output=output, queue=wished, priority=priority)

    app.command(kind.value, help=_METHODS[kind])(command)


for _kind in _METHODS:
    _add(_kind)
