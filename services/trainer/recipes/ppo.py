"""Proximal policy optimisation: the policy writes, is judged on the text, and moves a little.

Any reward that is callable on texts will do, with any tokenizer. The policy is kept near its start
by a price per nat of distance, which follows a target. One file, start to end; the mathematics are
in `services.trainer.policies.ppo_maths`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from services.trainer.launchers import world
from services.trainer.policies import ppo_maths as maths
from services.trainer.policies.data import PolicyData
from services.trainer.policies.generation import Written, log_probs, write
from services.trainer.policies.learner import Learner, State
from services.trainer.policies.opening import Opened
from services.trainer.policies.order import order_of
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.rewards import Floats, Rewards
from services.trainer.policies.tuned import TunedPolicy
from services.trainer.progress import stop_requested, track
from services.trainer.trained import Progress
from shared.errors import InvalidInput
from shared.logs import get_logger


class PpoParams(OnlineParams):
    """What `heed train ppo` can be told; a batch is of prompts."""

    learning_rate: float = Field(1.4e-5, gt=0, description="Of AdamW.")
    batch_size: int = Field(16, ge=1, description="Responses to learn from at once.")
    mini_batch_size: int = Field(4, ge=1, description="Responses in one backward pass.")
    ppo_epochs: int = Field(4, ge=1, description="Passes over each batch.")
    target_kl: float = Field(
        0.1, gt=0, description="Ends the passes 1.5 times so far from the old policy, nats a token."
    )
    clip: float = Field(0.2, gt=0, lt=1, description="How far a probability may move, as a ratio.")
    value_clip: float = Field(0.2, gt=0, description="How far a value may move.")
    value_weight: float = Field(0.1, ge=0, description="Of the value loss beside the policy's.")
    discount: float = Field(1.0, gt=0, le=1, description="Of rewards, per token.")
    smoothing: float = Field(0.95, ge=0, le=1, description="Lambda of generalised advantages.")
    kl_coefficient: float = Field(0.05, ge=0, description="First price of a nat from the start.")
    kl_wanted: float | None = Field(
        6.0, gt=0, description="Distance that the price steers to, nats a response; empty: fixed."
    )
    kl_horizon: int = Field(1000, ge=1, description="Responses that a whole correction takes.")
    missing_end: float = Field(1.0, ge=0, description="Taken from responses that do not end.")
    max_gradient: float = Field(1.0, gt=0, description="Norm that gradients are cut to.")


@dataclass(frozen=True)
class Rollout:
    """Responses with what was known of them when they were written; tensors are (n, r)."""

    written: Written
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    numbers: dict[str, float]

    @property
    def mask(self) -> Tensor:
        """1 for tokens of a response."""
        return self.written.response_mask


def train(
    opened: Opened,
    data: PolicyData,
    params: PpoParams,
    *,
    rewards: Rewards,
    work: Path,
    progress: Progress,
) -> TunedPolicy:
    """The policy after all batches, or at its KL budget; a killed run goes on exactly.

    Raises:
        Unavailable: a reward gives no number.
        RunInterrupted: the run was asked to stop; it left a checkpoint.
    """
    prompts = list(data.train.prompts)
    total, (rank, processes) = params.batches(len(prompts), params.batch_size), _place(params)
    order = order_of(len(prompts), total * params.batch_size, seed=params.seed)
    learner = Learner.open(opened, params)
    torch.manual_seed(params.seed + rank)
    state = _begun(learner, work) or State(price=params.kl_coefficient)
    while state.step < total and not _is_spent(state, params):
        first = state.step * params.batch_size
        batch = [prompts[at] for at in order[first : first + params.batch_size][rank::processes]]
        rollout = _rollout(learner, opened, batch, params, rewards, price=state.price)
        moved = _learn(learner, rollout, params, seed=params.seed + state.step)
        seen = _mean(rollout.numbers | moved)
        numbers = seen | {"step": state.step + 1, "price": state.price}
        state = state.next(numbers, price=_price(state.price, seen["kl"], params))
        is_last = state.step == total or _is_spent(state, params)
        is_stopped = world.anyone(bool(stop_requested(progress)))
        if is_last or is_stopped or state.step % params.save_steps == 0:
            learner.save(work, state)
        if is_last or is_stopped or state.step % params.logging_steps == 0:
            progress(0.1 + 0.8 * state.step / total, "train", _shown(numbers))
            track(progress, state.step, numbers)
    cut = sum(opened.text.prompt(one).is_cut for one in prompts)
    metrics = {"prompts": len(prompts), "prompts_truncated": cut, "steps": state.step}
    return TunedPolicy(learner.finished(), metrics, state.history)


def _begun(learner: Learner, work: Path) -> State | None:
    state = learner.resumed(work)
    if state is not None:
        get_logger("trainer").info("goes on from a checkpoint", step=state.step)
    return state


def _place(params: PpoParams) -> tuple[int, int]:
    """Which of how many processes this is; each writes and learns from its share of a batch.

    Raises:
        InvalidInput: the batch has no equal shares.
    """
    here = world.place()
    if params.batch_size % here.world_size:
        raise InvalidInput(
            f"A batch of {params.batch_size} cannot be shared by {here.world_size} processes; "
            "give another --batch-size."
        )
    return here.rank or 0, here.world_size


def _mean(numbers: dict[str, float]) -> dict[str, float]:
    """The numbers of one process, as a mean over all."""
    each = world.gathered(numbers)
    return {name: float(np.mean([one[name] for one in each])) for name in numbers}


def _rollout(
    learner: Learner,
    opened: Opened,
    prompts: list[str],
    params: PpoParams,
    rewards: Rewards,
    *,
    price: float,
) -> Rollout:
    written = write(
        learner.policy, opened.text, prompts,
        most=params.max_response_tokens, temperature=params.temperature,
    )  # fmt: skip
    size, mask = written.response_mask.shape[1], written.response_mask
    judged = rewards(prompts, written.texts)
    with torch.no_grad():
        old, spread, values = learner.read(written.ids, written.mask, size)
        with learner.start() as start:
            reference, _ = log_probs(
                start, written.ids, written.mask, size, temperature=params.temperature
            )
        entropy = -(spread.exp() * spread).sum(dim=2)
    log_ratio = (old - reference) * mask
    scores = _scores(judged, written, params).to(old.device)
    given = maths.token_rewards(scores, log_ratio, mask, coefficient=price)
    advantages, returns = maths.advantages_of(
        given, values, mask, discount=params.discount, smoothing=params.smoothing
    )
    numbers = {
        "reward": float(np.mean(judged)),
        "kl": float(log_ratio.sum(dim=1).mean()),
        "entropy": float(maths.masked_mean(entropy, mask)),
        "response_tokens": float(mask.sum(dim=1).float().mean()),
        "ended": float(written.ended.float().mean()),
    }
    return Rollout(written, old, values, advantages, returns, numbers)


def _scores(judged: Floats, written: Written, params: PpoParams) -> Tensor:
    unended = (~written.ended).float().cpu().numpy()
    return torch.from_numpy(judged - params.missing_end * unended).float()


def _learn(learner: Learner, rollout: Rollout, params: PpoParams, *, seed: int) -> dict[str, float]:
    """Several passes over a batch, fewer when the policy has moved far enough."""
    draw = np.random.default_rng((params.seed, seed))
    losses: list[tuple[float, float, float]] = []
    for _ in range(params.ppo_epochs):
        order = draw.permutation(len(rollout.written.texts))
        parts = np.array_split(order, max(1, len(order) // params.mini_batch_size))
        for number, rows in enumerate(parts, start=1):
            losses.append(_backward(learner, rollout, torch.from_numpy(rows), params))
            if number % params.gradient_accumulation == 0 or number == len(parts):
                learner.move(params.max_gradient)
        if world.anyone(losses[-1][2] > 1.5 * params.target_kl):
            break
    policy, value, _ = np.mean(losses, axis=0)
    return {"loss": float(policy), "value_loss": float(value), "moved": losses[-1][2]}


def _backward(
    learner: Learner, rollout: Rollout, rows: Tensor, params: PpoParams
) -> tuple[float, float, float]:
    """Gradients of some responses; the two losses, and how far the policy has moved by now."""
    mask, old = rollout.mask[rows], rollout.log_probs[rows]
    ids, seen = rollout.written.ids[rows], rollout.written.mask[rows]
    new, _, values = learner.read(ids, seen, mask.shape[1])
    policy = maths.policy_loss(new, old, rollout.advantages[rows], mask, clip=params.clip)
    value = maths.value_loss(
        values, rollout.values[rows], rollout.returns[rows], mask, clip=params.value_clip
    )
    learner.backward((policy + params.value_weight * value) / params.gradient_accumulation)
    ratio = (new.detach() - old) * mask
    moved = maths.masked_mean(ratio.exp() - 1 - ratio, mask)  # Schulman's estimate, never < 0
    return float(policy.detach()), float(value.detach()), float(moved)


def _price(price: float, kl: float, params: PpoParams) -> float:
    if params.kl_wanted is None:
        return price
    share = params.batch_size / params.kl_horizon
    return maths.corrected(price, kl, target=params.kl_wanted, share=share)


def _is_spent(state: State, params: PpoParams) -> bool:
    """Whether the policy has left its start by as much as it may."""
    return bool(params.kl_budget and state.history and state.history[-1]["kl"] > params.kl_budget)


def _shown(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in numbers.items()}
