"""The recipes by the kind of run that follows them; each is imported when it is needed."""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from services.trainer.examples import RewardDataset
from services.trainer.reward_params import RewardParams
from services.trainer.trained import Progress, TrainedReward
from services.trainer.workplace import Workplace, code_version
from shared.contracts.training import RunKind, TrainingRequest
from shared.errors import InvalidInput


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
    train = _recipe(request.kind)[1]
    return train(
        dataset,
        params_of(request, workplace),
        output=output,
        secret=workplace.secret,
        progress=progress,
        code_version=code_version(),
    )


def params_of(request: TrainingRequest, workplace: Workplace) -> RewardParams:
    """What the recipe is told: what the request says, else the settings, else its defaults.

    Raises:
        InvalidInput: a parameter is unknown or has a wrong value.
    """
    kind = _recipe(request.kind)[0]
    try:
        return kind(**{"min_rated": workplace.settings.min_rated} | request.recipe)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The parameter {name} is wrong: {first['msg']}.") from None


def _recipe(kind: RunKind) -> tuple[type[RewardParams], Callable[..., TrainedReward]]:
    """The parameters of a kind of run, and what trains with them."""
    if kind is RunKind.REWARD_EMBEDDING:
        from services.trainer.recipes import embedding_reward

        return embedding_reward.EmbeddingParams, embedding_reward.train
    if kind is RunKind.REWARD_ADDED:
        from services.trainer.foreign import AddedParams
        from services.trainer.recipes import added_reward

        return AddedParams, added_reward.train
    from services.trainer.recipes import transformer_reward

    return transformer_reward.TransformerParams, transformer_reward.train
