"""Reports on policies that are only numbers, so that what is true of them is known."""

from dataclasses import dataclass

import numpy as np

from services.trainer.policies.evaluation import Judged, Responses, beside_liked, compared
from services.trainer.policies.params import OnlineParams
from services.trainer.policies.rewards import Part, Rewards, Source
from shared.contracts.policy_report import PolicyReport

WORDS = 400
CONSTRAINT = "length:2-40"


@dataclass(frozen=True)
class Simulated:
    """What a policy writes and is worth, on average.

    Attributes:
        reward, gold: means, in standard deviations; the two correlate at 0.5.
        tokens: mean length.
        ended: share of responses that end by themselves.
        entropy: nats a token.
        repeats: share of a response that is one token again and again.
        words: of the vocabulary that it uses.
        broken: share of responses that break the constraint.
        kl: mean distance from the policy before.
    """

    reward: float = 0.0
    gold: float = 0.0
    tokens: float = 30.0
    ended: float = 0.8
    entropy: float = 2.0
    repeats: float = 0.0
    words: int = WORDS
    broken: float = 0.05
    kl: float = 3.0


def simulated_report(
    before: Simulated,
    after: Simulated,
    *,
    prompts: int = 64,
    seed: int = 0,
    has_gold: bool = True,
    kl_budget: float | None = None,
    liked_words: float | None = None,
) -> PolicyReport:
    """The report on two policies that write independently of each other."""
    rng = np.random.default_rng(seed)
    written = _written(before, prompts, rng), _written(after, prompts, rng)
    judged = _judged(before, prompts, rng, has_gold), _judged(after, prompts, rng, has_gold)
    parts = [Part(Source("reward@1"), _unused, "ab" * 32), Part(Source(CONSTRAINT), _unused)]
    report = compared(
        written, judged, params=OnlineParams(kl_budget=kl_budget, seed=seed),
        rewards=Rewards(parts), names=[str(at) for at in range(prompts)],
    )  # fmt: skip
    return beside_liked(report, ["word " * int(liked_words)] if liked_words else [])


def _unused(_prompts: object, _responses: object) -> list[float]:
    return []


def _written(policy: Simulated, prompts: int, rng: np.random.Generator) -> Responses:
    sizes = np.maximum(2, rng.poisson(policy.tokens * rng.gamma(8, 1 / 8, prompts)))
    ids = []
    for size in sizes.tolist():
        same = int(round(policy.repeats * size))
        drawn = np.minimum(rng.zipf(1.3, size - same), policy.words) + 10
        ids.append([*drawn.tolist(), *[7] * same])
    return Responses(
        texts=[" ".join(map(str, one)) for one in ids],
        ids=ids,
        ended=(rng.random(prompts) < policy.ended).tolist(),
        entropy=rng.gamma(6, policy.entropy / 6, prompts),
        kl=rng.gamma(3, policy.kl / 3, prompts),
    )


def _judged(policy: Simulated, prompts: int, rng: np.random.Generator, has_gold: bool) -> Judged:
    common, own, other = rng.standard_normal((3, prompts)) / np.sqrt(2)
    constraint = -0.5 * (rng.random(prompts) < policy.broken)
    reward = policy.reward + common + own
    gold = policy.gold + common + other if has_gold else None
    parts = {"reward@1": reward, CONSTRAINT: constraint}
    return Judged(parts, reward + constraint, gold)
