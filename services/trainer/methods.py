"""The recipes by the kind of run that follows them; each is imported when it is needed."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from services.trainer.examples import RewardDataset
from services.trainer.trained import Progress, TrainedReward
from services.trainer.workplace import Workplace, code_version
from shared.contracts.training import RunKind, TrainingRequest
from shared.errors import InvalidInput

P = TypeVar("P", bound=BaseModel)


def train_reward(
    request: TrainingRequest,
    dataset: RewardDataset,
    workplace: Workplace,
    *,
    output: Path,
    progress: Progress,
) -> TrainedReward:
    """A reward model as the request asks for, in the folder `output`.

    Raises:
        InvalidInput: a parameter is unknown or has a wrong value.
        NotEnoughData: there is too little feedback.
        ConfigError: the pretrained model is not to be had.
        ArtifactError: the folder cannot be written.
    """
    train = _embedding if request.kind is RunKind.REWARD_EMBEDDING else _transformer
    return train(request, dataset, workplace, output=output, progress=progress)


def _parsed(kind: type[P], request: TrainingRequest, workplace: Workplace) -> P:
    try:
        return kind(**{"min_rated": workplace.settings.min_rated} | request.recipe)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The parameter {name} is wrong: {first['msg']}.") from None


def _embedding(
    request: TrainingRequest,
    dataset: RewardDataset,
    workplace: Workplace,
    *,
    output: Path,
    progress: Progress,
) -> TrainedReward:
    from services.trainer.recipes.embedding_reward import EmbeddingParams, train

    return train(
        dataset,
        _parsed(EmbeddingParams, request, workplace),
        output=output,
        secret=workplace.secret,
        progress=progress,
        code_version=code_version(),
    )


def _transformer(
    request: TrainingRequest,
    dataset: RewardDataset,
    workplace: Workplace,
    *,
    output: Path,
    progress: Progress,
) -> TrainedReward:
    from services.trainer.recipes.transformer_reward import TransformerParams, train

    return train(
        dataset,
        _parsed(TransformerParams, request, workplace),
        output=output,
        secret=workplace.secret,
        progress=progress,
        code_version=code_version(),
    )
