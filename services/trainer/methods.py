"""The recipes by the kind of run that follows them; each is imported when it is needed."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.trainer.examples import RewardDataset
from services.trainer.made import Made
from services.trainer.policies.params import PolicyParams
from services.trainer.reward_params import RewardParams
from services.trainer.trained import Progress, TrainedReward
from services.trainer.workplace import Workplace, code_version
from shared.contracts.training import RunKind, TrainingRequest
from shared.errors import InvalidInput

Params = RewardParams | PolicyParams


def maker_of(kind: RunKind) -> Callable[..., Made]:
    """What makes the artifact of such a run."""
    if kind.is_policy:
        from services.trainer.policy_runs import make_policy

        return make_policy
    from services.trainer.reward_runs import make_reward

    return make_reward


def train_reward(
    request: TrainingRequest,
    dataset: RewardDataset,
    params: RewardParams,
    workplace: Workplace,
    *,
    output: Path,
    progress: Progress,
) -> TrainedReward:
    """A reward model as the request asks for, in the folder `output`.

    Raises:
        NotEnoughData: there is too little feedback.
        ConfigError: the pretrained model is not to be had.
        ArtifactError: the folder cannot be written.
    """
    train = recipe_of(request.kind)[1]
    found: TrainedReward = train(
        dataset,
        params,
        output=output,
        secret=workplace.secret,
        progress=progress,
        code_version=code_version(),
    )
    return found


def params_of(request: TrainingRequest, workplace: Workplace) -> Params:
    """What the recipe is told: what the request says, else the settings, else its defaults.

    Raises:
        InvalidInput: a parameter is unknown or has a wrong value.
    """
    kind = recipe_of(request.kind)[0]
    try:
        found: Params = kind(**{"min_rated": workplace.settings.min_rated} | request.recipe)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"The parameter {name} is wrong: {first['msg']}.") from None
    return found


def recipe_of(kind: RunKind) -> tuple[type[Any], Callable[..., Any]]:
    """The parameters of a kind of run, and what trains with them."""
    if kind is RunKind.REWARD_EMBEDDING:
        from services.trainer.recipes import embedding_reward

        return embedding_reward.EmbeddingParams, embedding_reward.train
    if kind is RunKind.REWARD_ADDED:
        from services.trainer.foreign import AddedParams
        from services.trainer.recipes import added_reward

        return AddedParams, added_reward.train
    if kind is RunKind.REWARD_TRANSFORMER:
        from services.trainer.recipes import transformer_reward

        return transformer_reward.TransformerParams, transformer_reward.train
    recipe = import_module(f"services.trainer.recipes.{kind.value}")
    return getattr(recipe, f"{kind.value.capitalize()}Params"), recipe.train
