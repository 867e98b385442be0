"""REINFORCE leave-one-out: each response against the mean of the others to its prompt.

Source: Ahmadian et al. 2024, https://arxiv.org/abs/2402.14740.
"""

from pathlib import Path

from services.trainer.policies.data import PolicyData
from services.trainer.policies.grouped import GroupedParams, train_grouped
from services.trainer.policies.opening import Opened
from services.trainer.policies.rewards import Rewards
from services.trainer.policies.tuned import TunedPolicy
from services.trainer.trained import Progress


class RlooParams(GroupedParams):
    """What `heed train rloo` can be told."""


def train(
    opened: Opened,
    data: PolicyData,
    params: RlooParams,
    *,
    rewards: Rewards,
    work: Path,
    progress: Progress,
) -> TunedPolicy:
    """The policy after learning from its own responses; see `train_grouped`."""
    from trl import RLOOConfig, RLOOTrainer

    kinds = RLOOTrainer, RLOOConfig
    return train_grouped(kinds, opened, data, params, rewards=rewards, work=work, progress=progress)
