"""Datasets, recipes, gates and the worker that runs training runs.

What client applications call from Python; each is imported when it is first used, so that
importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.trainer.prepare import prepare_preference_dataset
    from services.trainer.training import train_reward_model, train_with_ppo

__all__ = ["prepare_preference_dataset", "train_reward_model", "train_with_ppo"]

_HOMES = {
    "prepare_preference_dataset": "services.trainer.prepare",
    "train_reward_model": "services.trainer.training",
    "train_with_ppo": "services.trainer.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
