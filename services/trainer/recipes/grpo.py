"""Group relative policy optimisation: each response against the others to its prompt.

Source: Shao et al. 2024, https://arxiv.org/abs/2402.03300.
"""

from pathlib import Path

from services.trainer.policies.data import PolicyData
from services.trainer.policies.grouped import GroupedParams, train_grouped
from services.trainer.policies.opening import Opened
from services.trainer.policies.rewards import Rewards
from services.trainer.policies.tuned import TunedPolicy
from services.trainer.trained import Progress


class GrpoParams(GroupedParams):
    """What `heed train grpo` can be told."""


def train(
    opened: Opened,
    data: PolicyData,
    params: GrpoParams,
    *,
    rewards: Rewards,
    work: Path,
    progress: Progress,
) -> TunedPolicy:
    """The policy after learning from its own responses; see `train_grouped`."""
    from trl import GRPOConfig, GRPOTrainer

    kinds = GRPOTrainer, GRPOConfig
    return train_grouped(kinds, opened, data, params, rewards=rewards, work=work, progress=progress)
