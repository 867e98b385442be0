"""PPO's arithmetic against the sums as they are written in the papers."""

import pytest
import torch

from services.trainer.policies.ppo_maths import (
    advantages_of,
    corrected,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


def test_the_score_comes_with_the_last_token_and_every_nat_costs() -> None:
    ratio = torch.tensor([[0.5, 0.0, -1.0, 9.0], [1.0, 2.0, 9.0, 9.0]])

    found = token_rewards(torch.tensor([3.0, -2.0]), ratio, MASK, coefficient=0.1)

    wanted = torch.tensor([[-0.05, 0.0, 3.1, 0.0], [-0.1, -2.2, 0.0, 0.0]])
    assert torch.allclose(found, wanted)


def test_advantages_are_the_discounted_sum_of_errors() -> None:
    rewards = torch.tensor([[0.1, -0.3, 2.0, 0.0]])
    values = torch.tensor([[0.5, 0.2, -0.4, 7.0]])
    discount, smoothing = 0.9, 0.8
    v = [*values[0, :3].tolist(), 0.0]
    errors = [float(rewards[0, t]) + discount * v[t + 1] - v[t] for t in range(3)]
    wanted = [
        sum((discount * smoothing) ** (k - t) * errors[k] for k in range(t, 3)) for t in range(3)
    ]

    found, returns = advantages_of(
        rewards, values, MASK[:1], discount=discount, smoothing=smoothing
    )

    assert torch.allclose(returns[0, :3], torch.tensor(wanted) + values[0, :3])
    assert torch.allclose(found, whitened(torch.tensor([[*wanted, 0.0]]), MASK[:1]))
    assert returns[0, 3] == found[0, 3] == 0


def test_whitening_looks_at_tokens_of_responses_only() -> None:
    found = whitened(torch.tensor([[1.0, 2.0, 3.0, 99.0], [4.0, 5.0, 99.0, 99.0]]), MASK)

    kept = found[MASK.bool()]
    assert float(kept.mean()) == pytest.approx(0, abs=1e-6)
    assert float(kept.var(correction=0)) == pytest.approx(1, abs=1e-4)
    assert not found[~MASK.bool()].any()


@pytest.mark.parametrize(
    ("ratio", "advantage", "wanted"),
    [(1.5, 1.0, -1.2), (1.5, -1.0, 1.5), (0.5, 1.0, -0.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2)],
)
def test_a_probability_gains_nothing_beyond_the_clip(
    ratio: float, advantage: float, wanted: float
) -> None:
    one = torch.ones(1, 1)

    found = policy_loss(one * torch.tensor(ratio).log(), 0 * one, one * advantage, one, clip=0.2)

    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_a_value_that_leaves_the_old_one_too_far_counts_as_the_worse_of_both() -> None:
    one = torch.ones(1, 1)

    far = value_loss(one * 2.0, one * 0.0, one * 2.0, one, clip=0.5)
    near = value_loss(one * 0.3, one * 0.0, one * 2.0, one, clip=0.5)

    assert float(far) == pytest.approx(0.5 * 1.5**2)
    assert float(near) == pytest.approx(0.5 * 1.7**2)


def test_the_price_follows_the_distance_and_never_jumps() -> None:
    assert corrected(0.1, 6.0, target=6.0, share=1.0) == pytest.approx(0.1)
    assert corrected(0.1, 600.0, target=6.0, share=0.5) == pytest.approx(0.11)
    assert corrected(0.1, 0.0, target=6.0, share=0.5) == pytest.approx(0.09)
