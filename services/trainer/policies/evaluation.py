"""A policy after training beside the one before: both write to held-out prompts and are judged.

Both are sampled with the same seed, so two equal policies write equal responses. Prompts are
independent of each other, so every interval is a paired one over prompts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.trainer.audit.held_out import drawn
from services.trainer.audit.intervals import share
from services.trainer.heads import Floats
from services.trainer.policies.alarms import alarms
from services.trainer.policies.constraints import Judge
from services.trainer.policies.diversity import distinct_of_both, repetition
from services.trainer.policies.generation import Written, log_probs, write
from services.trainer.policies.opening import Opened
from services.trainer.policies.paired import change_of, mean_of
from services.trainer.policies.params import OnlineParams, PolicyParams
from services.trainer.policies.rewards import Part, Rewards, Source
from services.trainer.policies.samples import chosen_rows, reference, seal
from services.trainer.reward_metrics import hits
from services.trainer.trained import Progress
from shared.contracts.audit import Estimate
from shared.contracts.policy_report import (
    Change,
    Figures,
    Mean,
    Measure,
    Measured,
    PolicyReport,
    RewardSource,
    Row,
    Sample,
)

_AT_ONCE = 16
_MOST_NUMBERS = 1 << 25  # of the distributions over the vocabulary that are in memory together
_BEGIN, _SHARE = 0.9, 0.05  # of a run's progress
_JUDGED: tuple[Measure, ...] = ("reward", "gold")
_ALWAYS: tuple[Measure, ...] = ("tokens", "words", "ended", "repetition", "entropy")


@dataclass(frozen=True)
class Responses:
    """What one policy wrote to the n prompts.

    Attributes:
        ids: the tokens of each response, without its end.
        entropy: of its distribution at each token, mean over the response, nats, shape (n,).
        kl: from the other policy to this one, over the whole response, nats, shape (n,); None
            where they have no common vocabulary, or where it was not asked for.
    """

    texts: list[str]
    ids: list[list[int]]
    ended: list[bool]
    entropy: Floats
    kl: Floats | None = None


@dataclass(frozen=True)
class Judged:
    """Rewards of one policy's responses, each of shape (n,)."""

    parts: Mapping[str, Floats]
    reward: Floats | None
    gold: Floats | None


def evaluate_policy(
    before: Opened,
    after: Opened,
    prompts: Sequence[str],
    *,
    rewards: Rewards | None,
    gold: Judge | None,
    params: PolicyParams,
    progress: Progress,
    secret: bytes | None = None,
) -> PolicyReport:
    """What training changed, on prompts that it never saw, with its alarms.

    Args:
        before: the policy that training began with, or another one to compare with.
        after: the policy after training; both stay as they are.
        prompts: held-out prompts, at least one; of many, `evaluate_prompts` are drawn.
        rewards: what judges responses, if anything does.
        gold: a second reward model, which training never saw.
        params: of the recipe: seed, temperature, longest response, KL budget.
        progress: called with the fraction of the run that is done.
        secret: the deployment's; seals the samples' texts. Without it none are kept.

    Raises:
        Unavailable: a reward gives no number.
    """
    rows = drawn(len(prompts), params.evaluate_prompts, seed=params.seed)
    shown = [prompts[at] for at in rows]
    with _beside(before.model, after.model):
        first = respond(before, shown, params)
        progress(_BEGIN + _SHARE / 3, "evaluate", {"prompts": len(shown)})
        second = respond(after, shown, params, other=before)
    progress(_BEGIN + _SHARE * 2 / 3, "evaluate", {"prompts": len(shown)})
    judged = judge(rewards, gold, shown, first), judge(rewards, gold, shown, second)
    report = compared(
        (first, second), judged, params=params, rewards=rewards,
        names=[reference(one, secret) if secret else str(at) for at, one in enumerate(shown)],
    )  # fmt: skip
    samples = _samples(report, shown, (first.texts, second.texts), secret)
    progress(_BEGIN + _SHARE, "evaluate", {"alarms": float(len(report.alarms))})
    return report.model_copy(update={"samples": samples})


@contextmanager
def _beside(model: Any, other: Any) -> Iterator[None]:
    """Have a model on the device of another one, which is where that was trained."""
    home = next(model.parameters()).device
    model.to(next(other.parameters()).device)
    try:
        yield
    finally:
        model.to(home)


def beside_liked(report: PolicyReport, liked: Sequence[str]) -> PolicyReport:
    """The report with how long responses are that people liked; none may be far shorter."""
    if not liked:
        return report
    words = float(np.median([len(one.split()) for one in liked]))
    known = report.model_copy(update={"liked_words": words})
    return known.model_copy(update={"alarms": alarms(known)})


def respond(
    policy: Opened, prompts: Sequence[str], params: PolicyParams, *, other: Opened | None = None
) -> Responses:
    """What a policy writes to each prompt; with `other`, how far it is from that one.

    At every token both distributions are known, so the divergence is summed over them instead of
    being estimated from the token that was drawn.

    Source: Amini et al. 2025, arXiv:2504.10637 (a Rao-Blackwellised estimate).
    """
    reference_policy = other if other is not None and _share_vocabulary(policy, other) else None
    texts: list[str] = []
    ids: list[list[int]] = []
    ended: list[bool] = []
    entropy: list[float] = []
    kl: list[float] = []
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
        torch.manual_seed(params.seed)
        for start in range(0, len(prompts), _AT_ONCE):
            some = write(
                policy.model, policy.text, prompts[start : start + _AT_ONCE],
                most=params.max_response_tokens, temperature=params.temperature,
            )  # fmt: skip
            texts += some.texts
            ended += some.ended.tolist()
            ids += _tokens(some, policy.text.end)
            for unsure, far in _distances(some, policy, reference_policy, params.temperature):
                entropy.append(unsure)
                kl.append(far)
    distances = np.array(kl) if reference_policy else None
    return Responses(texts, ids, ended, np.array(entropy), distances)


def judge(
    rewards: Rewards | None, gold: Judge | None, prompts: Sequence[str], responses: Responses
) -> Judged:
    """The rewards of a policy's responses.

    Raises:
        Unavailable: one of them is no number.
    """
    parts = rewards.each(prompts, responses.texts) if rewards else {}
    total = rewards.total(parts) if rewards and parts else None
    if gold is None:
        return Judged(parts, total, None)
    (known,) = Rewards([Part(Source("gold"), gold)]).each(prompts, responses.texts).values()
    return Judged(parts, total, known)


def compared(
    written: tuple[Responses, Responses],
    judged: tuple[Judged, Judged],
    *,
    params: PolicyParams,
    rewards: Rewards | None,
    names: Sequence[str],
) -> PolicyReport:
    """The report on what both policies wrote and how it was judged, before and after."""
    first, second = _measured(written[0], judged[0]), _measured(written[1], judged[1])
    kl = written[1].kl
    rows = [
        Row(prompt=name, before=one, after=other, kl=None if kl is None else float(kl[at]))
        for at, (name, one, other) in enumerate(zip(names, first, second, strict=True))
    ]
    columns = _columns(first), _columns(second)
    parts = _part_columns(first), _part_columns(second)
    changes = {name: change_of(columns[0][name], columns[1][name]) for name in columns[0]}
    diversity = _diversity(written)
    report = PolicyReport(
        seed=params.seed,
        temperature=params.temperature,
        max_response_tokens=params.max_response_tokens,
        kl_budget=getattr(params, "kl_budget", None),
        rewards=[
            RewardSource(name=one.source.name, weight=one.source.weight, sha256=one.sha256)
            for one in (rewards.parts if rewards else ())
        ],
        learned_from_rewards=isinstance(params, OnlineParams),
        rows=rows,
        before=_figures(columns[0], parts[0], {name: one[0] for name, one in diversity.items()}),
        after=_figures(columns[1], parts[1], {name: one[1] for name, one in diversity.items()}),
        changes=changes | {name: one[2] for name, one in diversity.items()},
        part_changes={name: change_of(parts[0][name], parts[1][name]) for name in parts[0]},
        win_rate=_win_rate(columns, "reward"),
        gold_win_rate=_win_rate(columns, "gold"),
        kl=None if kl is None else mean_of(kl),
    )
    return report.model_copy(update={"alarms": alarms(report)})


def _share_vocabulary(one: Opened, other: Opened) -> bool:
    sizes = {opened.model.config.get_text_config().vocab_size for opened in (one, other)}
    vocabularies = [opened.text.tokenizer.get_vocab() for opened in (one, other)]
    return len(sizes) == 1 and vocabularies[0] == vocabularies[1]


def _tokens(written: Written, end: int | None) -> list[list[int]]:
    sizes = written.response_mask.sum(dim=1).tolist()
    rows = zip(written.response_ids.tolist(), sizes, strict=True)
    return [[token for token in row[:size] if token != end] for row, size in rows]


def _distances(
    written: Written, policy: Opened, other: Opened | None, temperature: float
) -> Iterator[tuple[float, float]]:
    """Of each response the mean entropy, and the divergence from `other`, 0 without one."""
    width = policy.model.config.get_text_config().vocab_size
    length = written.response_mask.shape[1]
    at_once = max(1, _MOST_NUMBERS // (2 * width * length))
    for start in range(0, len(written.ids), at_once):
        rows = slice(start, start + at_once)
        mask = written.response_mask[rows].float()
        own = _spread(policy.model, written, rows, temperature)
        chances = own.exp()
        unsure = -(chances * own).nan_to_num().sum(dim=-1) * mask
        far = torch.zeros_like(mask)
        if other is not None:
            theirs = _spread(other.model, written, rows, temperature).to(own.device)
            far = (chances * (own - theirs)).nan_to_num().sum(dim=-1) * mask
        entropies = (unsure.sum(dim=1) / mask.sum(dim=1)).tolist()
        yield from zip(entropies, far.sum(dim=1).tolist(), strict=True)


def _spread(model: Any, written: Written, rows: slice, temperature: float) -> Tensor:
    """Distributions at each token of some responses, log-probabilities, (n, r, v)."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    _, spread = log_probs(
        model, written.ids[rows].to(device), written.mask[rows].to(device),
        written.response_mask.shape[1], temperature=temperature,
    )  # fmt: skip
    model.train(was_training)
    return spread


def _measured(written: Responses, judged: Judged) -> list[Measured]:
    return [
        Measured(
            reward=None if judged.reward is None else float(judged.reward[at]),
            parts={name: float(values[at]) for name, values in judged.parts.items()},
            gold=None if judged.gold is None else float(judged.gold[at]),
            tokens=len(tokens),
            words=len(text.split()),
            ended=written.ended[at],
            repetition=repetition(tokens),
            entropy=float(written.entropy[at]),
        )
        for at, (text, tokens) in enumerate(zip(written.texts, written.ids, strict=True))
    ]


def _columns(rows: Sequence[Measured]) -> dict[Measure, Floats]:
    """Every measure that there is of all rows, shape (n,); `log_tokens` is ln(1 + tokens)."""
    there = [name for name in _JUDGED if getattr(rows[0], name) is not None]
    found: dict[Measure, Floats] = {
        name: np.array([float(getattr(one, name)) for one in rows]) for name in (*there, *_ALWAYS)
    }
    return found | {"log_tokens": np.log1p(found["tokens"])}


def _part_columns(rows: Sequence[Measured]) -> dict[str, Floats]:
    return {name: np.array([one.parts[name] for one in rows]) for name in rows[0].parts}


def _diversity(written: tuple[Responses, Responses]) -> dict[Measure, tuple[Mean, Mean, Change]]:
    found: dict[Measure, tuple[Mean, Mean, Change]] = {}
    sizes: tuple[tuple[Measure, int], ...] = (("distinct_1", 1), ("distinct_2", 2))
    for name, n in sizes:
        first, second, change = distinct_of_both(written[0].ids, written[1].ids, n)
        found[name] = (first.as_mean(), second.as_mean(), change)
    return found


def _figures(
    columns: Mapping[Measure, Floats],
    parts: Mapping[str, Floats],
    diversity: Mapping[Measure, Mean],
) -> Figures:
    means: dict[Measure, Mean] = {name: mean_of(values) for name, values in columns.items()}
    return Figures(
        means=means | dict(diversity),
        parts={name: mean_of(values) for name, values in parts.items()},
    )


def _win_rate(
    columns: tuple[Mapping[Measure, Floats], Mapping[Measure, Floats]], measure: Measure
) -> Estimate | None:
    """How often the policy after has more of it, ties counting half, with Wilson's interval."""
    if measure not in columns[0]:
        return None
    gains = columns[1][measure] - columns[0][measure]
    return share(hits(gains), list(range(len(gains))))


def _samples(
    report: PolicyReport,
    prompts: Sequence[str],
    texts: tuple[Sequence[str], Sequence[str]],
    secret: bytes | None,
) -> list[Sample]:
    by = report.judged_by
    gains = None
    if by is not None:
        gains = np.array([getattr(one.after, by) - getattr(one.before, by) for one in report.rows])
    return [
        Sample(
            row=at, why=why,
            sealed=seal(prompts[at], (texts[0][at], texts[1][at]), secret) if secret else "",
        )
        for at, why in chosen_rows(gains, len(prompts), seed=report.seed)
    ]  # fmt: skip
