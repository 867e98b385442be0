"""What PPO computes from rollouts: advantages, clipped losses and the price of distance.

Sources: Schulman et al. 2017, https://arxiv.org/abs/1707.06347; 2016, https://arxiv.org/abs/1506.02438
(advantages); Ziegler et al. 2019, https://arxiv.org/abs/1909.08593 (reward per token, adaptive KL).
"""

import torch
from torch import Tensor

_SHARE_OF_ERROR = 0.2  # the most an error of the distance counts in one correction of its price


def token_rewards(scores: Tensor, log_ratio: Tensor, mask: Tensor, *, coefficient: float) -> Tensor:
    """Rewards of each token, (n, r): minus the price of distance, plus the score at the end.

    Args:
        scores: of whole responses, (n,).
        log_ratio: log-probability under the policy minus that under its start, (n, r), nats.
        mask: 1 for tokens of the response, (n, r).
        coefficient: price of a nat.
    """
    rewards = -coefficient * log_ratio * mask
    last = mask.sum(dim=1) - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def advantages_of(
    rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages, whitened over all tokens, and returns; both (n, r)."""
    values, following = values * mask, torch.zeros_like(values[:, 0])
    found = torch.zeros_like(values)
    for at in reversed(range(values.shape[1])):
        after = values[:, at + 1] if at + 1 < values.shape[1] else torch.zeros_like(following)
        error = rewards[:, at] + discount * after - values[:, at]
        following = (error + discount * smoothing * following) * mask[:, at]
        found[:, at] = following
    return whitened(found, mask), (found + values) * mask


def whitened(values: Tensor, mask: Tensor) -> Tensor:
    """Values with mean 0 and variance 1 over what the mask keeps; 0 elsewhere."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over what the mask keeps."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def policy_loss(
    new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, *, clip: float
) -> Tensor:
    """The clipped surrogate of log-probabilities (n, r), to be minimised."""
    ratio = (new - old).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask)


def value_loss(new: Tensor, old: Tensor, returns: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """Half the squared error of values (n, r), which may leave the old ones by `clip` at most."""
    near = old + (new - old).clamp(-clip, clip)
    worse = torch.maximum((new - returns).square(), (near - returns).square())
    return 0.5 * masked_mean(worse, mask)


def corrected(coefficient: float, kl: float, *, target: float, share: float) -> float:
    """The next price of a nat, given the distance of the last responses and the one wanted.

    Proportional control of the log price; `share` is how many of the responses that a whole
    correction takes were written.
    """
    error = min(max(kl / target - 1, -_SHARE_OF_ERROR), _SHARE_OF_ERROR)
    return coefficient * (1 + error * share)
