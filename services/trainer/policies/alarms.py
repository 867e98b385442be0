"""What makes an improvement doubtful: alarms of a policy's report.

Every alarm needs both a size that matters (a named constant) and a paired test over prompts at
`LEVEL`, so an unchanged policy rarely raises one, however few prompts there are.
"""

from collections.abc import Callable, Iterator

import numpy as np

from services.trainer.gates import exact_p
from services.trainer.heads import Floats
from services.trainer.policies.paired import change_of, falls, rises
from shared.contracts.policy_report import (
    Alarm,
    AlarmCode,
    Change,
    Measure,
    PolicyReport,
    Severity,
)

LEVEL = 0.01  # one-sided, of each test

# A gold reward that gains surely less than this share of what the training reward gains, each in
# standard deviations of its rewards, does not bear the improvement out.
GOLD_SHARE, GOLD_LEVEL = 0.25, 0.05
# A run that was given a budget ends beyond it, not at it: so far beyond is an alarm.
BUDGET_TOLERANCE = 1.5
# Without a budget: beyond the best of 60,000 responses, ln(n) - (n - 1) / n = 10 nats, where Gao
# et al. saw the gold reward fall behind.
FAR = 10.0
LONGER, MUCH_LONGER = 1.5, 3.0  # times as long; 1.5 times as short too
FAR_TOO_SHORT = 0.25  # of the words of what people liked
REPEATS, REPEATS_MUCH = 0.1, 0.3  # more of a response said before
LESS_DISTINCT, HARDLY_DISTINCT = 0.6, 0.25  # of the distinct 2-grams are left
LESS_UNSURE, HARDLY_UNSURE = 0.4, 0.1  # of the entropy is left
ENDS_LESS, ENDS_MUCH_LESS = 0.1, 0.3  # fewer responses that end by themselves
_DRIFTS = (
    "length_drift", "repetition_drift", "diversity_collapse", "entropy_collapse", "ended_falls",
)  # fmt: skip
_WARNS = {"severity": "warns"}
_CONSTRAINTS = ("length:", "require:", "forbid:")


def alarms(report: PolicyReport) -> list[Alarm]:
    """Everything suspicious, what blocks first.

    Imitation is meant to change how a policy writes: there, drifts alone never block.
    """
    checks: tuple[Callable[[PolicyReport], Iterator[Alarm]], ...] = (
        _gold, _distance, _length, _repetition, _diversity, _entropy, _ended, _constraints,
    )  # fmt: skip
    found = [alarm for check in checks for alarm in check(report)]
    if not report.learned_from_rewards:
        found = [one.model_copy(update=_WARNS) if one.code in _DRIFTS else one for one in found]
    return sorted(found, key=lambda one: one.severity != "blocks")


def _gold(report: PolicyReport) -> Iterator[Alarm]:
    """The training reward rises, and a reward that training never saw does not bear it out.

    Source: Gao et al. 2023, arXiv:2210.10760 (the gold reward falls while the proxy rises).
    """
    reward, gold = report.changes.get("reward"), report.changes.get("gold")
    if reward is None or gold is None or not rises(reward, LEVEL):
        return
    told = f"The reward rises by {_signed(reward)}, the second reward model's by {_signed(gold)}"
    if falls(_gold_behind(report), GOLD_LEVEL):
        yield _alarm(
            "gold_gap", True,
            f"{told}: measured in standard deviations, that is surely less than {GOLD_SHARE:.0%} "
            "of it. The policy has learned what its reward model gets wrong; read the samples.",
        )  # fmt: skip
    elif not rises(gold, GOLD_LEVEL):
        yield _alarm(
            "gold_unconfirmed", False,
            f"{told}: it may not have risen at all. More held-out prompts would tell.",
        )  # fmt: skip


def _gold_behind(report: PolicyReport) -> Change:
    """The gold reward's gain minus `GOLD_SHARE` of the training reward's, in their deviations."""
    gold, reward = (_scaled(report, name) for name in ("gold", "reward"))
    return change_of(GOLD_SHARE * reward, gold)


def _scaled(report: PolicyReport, name: str) -> Floats:
    """Gains over the spread of both policies' rewards about their means, shape (n,)."""
    before, after = (
        np.array([getattr(getattr(row, side), name) for row in report.rows], dtype=np.float64)
        for side in ("before", "after")
    )
    spread = float(np.sqrt((before.var() + after.var()) / 2))
    return np.asarray((after - before) / (spread or 1.0))


def _distance(report: PolicyReport) -> Iterator[Alarm]:
    """Further from the policy before than was allowed.

    Sources: Gao et al. 2023, arXiv:2210.10760, eq. 1 (rewards over the root of the divergence);
    Spinning Up's PPO, which stops at 1.5 times its target.
    """
    if report.kl is None or not report.learned_from_rewards:
        return
    nats, error = report.kl.value, report.kl.error
    most = report.kl_budget * BUDGET_TOLERANCE if report.kl_budget else FAR
    if nats - 2.33 * error > most:
        asked = (
            f"the run's budget was {report.kl_budget:g}" if report.kl_budget
            else f"the best of 60,000 responses is {FAR:g} away"
        )  # fmt: skip
        yield _alarm(
            "kl_budget", report.kl_budget is not None,
            f"A response is {nats:.1f} nats from the policy before (√KL {np.sqrt(nats):.1f}); "
            f"{asked}. That far away, rewards say little.",
        )  # fmt: skip


def _length(report: PolicyReport) -> Iterator[Alarm]:
    """Much longer, far too short, or much shorter without having learned to end.

    Source: Singhal et al. 2023, arXiv:2310.03716 (length explains most of what RLHF gains).
    """
    words, liked = report.after.means["words"], report.liked_words or 0.0
    has_shrunk = falls(report.changes["words"], LEVEL)
    if has_shrunk and words.value + 2.33 * words.error < FAR_TOO_SHORT * liked:
        yield _alarm(
            "length_drift", True,
            f"Responses have shrunk to {words.value:.1f} words; what people liked has {liked:.0f}. "
            "The policy is rewarded for saying next to nothing.",
        )  # fmt: skip
        return
    change = report.changes["log_tokens"]
    times, is_longer = float(np.exp(abs(change.value))), change.value > 0
    learned_to_end = not is_longer and rises(report.changes["ended"], LEVEL)
    if change.p / 2 < LEVEL and times > LONGER and not learned_to_end:
        before, after = _values(report, "tokens")
        yield _alarm(
            "length_drift", is_longer and times > MUCH_LONGER,
            f"Responses are {times:.1f} times as {'long' if is_longer else 'short'}: "
            f"{after:.0f} tokens instead of {before:.0f}.",
        )  # fmt: skip


def _repetition(report: PolicyReport) -> Iterator[Alarm]:
    """Responses repeat themselves. Source: Welleck et al. 2020, arXiv:1908.04319."""
    change = report.changes["repetition"]
    if rises(change, LEVEL) and change.value > REPEATS:
        before, after = _values(report, "repetition")
        yield _alarm(
            "repetition_drift", change.value > REPEATS_MUCH,
            f"{after:.0%} of a response was said before in it, instead of {before:.0%}.",
        )  # fmt: skip


def _diversity(report: PolicyReport) -> Iterator[Alarm]:
    """Responses to different prompts are alike. Source: Li et al. 2016, arXiv:1510.03055."""
    before, after = _values(report, "distinct_2")
    if falls(report.changes["distinct_2"], LEVEL) and after < LESS_DISTINCT * before:
        yield _alarm(
            "diversity_collapse", after < HARDLY_DISTINCT * before,
            f"Responses to different prompts are alike: {after:.0%} of their pairs of tokens are "
            f"distinct, instead of {before:.0%}.",
        )  # fmt: skip


def _entropy(report: PolicyReport) -> Iterator[Alarm]:
    """Nothing is left to draw. Source: Cui et al. 2025, arXiv:2505.22617."""
    before, after = _values(report, "entropy")
    if falls(report.changes["entropy"], LEVEL) and after < LESS_UNSURE * before:
        yield _alarm(
            "entropy_collapse", after < HARDLY_UNSURE * before,
            f"The policy is hardly ever unsure of the next token: {after:.2f} nats instead of "
            f"{before:.2f}.",
        )  # fmt: skip


def _ended(report: PolicyReport) -> Iterator[Alarm]:
    """Fewer responses end by themselves; yes or no, so the test is McNemar's exact one."""
    change = report.changes["ended"]
    lost = np.array([float(row.before.ended) - float(row.after.ended) for row in report.rows])
    p = exact_p(lost, [row.prompt for row in report.rows])
    if p < LEVEL and change.value < -ENDS_LESS:
        before, after = _values(report, "ended")
        yield _alarm(
            "ended_falls", change.value < -ENDS_MUCH_LESS,
            f"{after:.0%} of the responses end by themselves, instead of {before:.0%}.",
        )  # fmt: skip


def _constraints(report: PolicyReport) -> Iterator[Alarm]:
    """A demand of the task is met less than before."""
    for name, change in report.part_changes.items():
        if name.startswith(_CONSTRAINTS) and falls(change, LEVEL):
            yield _alarm(
                "constraint_broken", True,
                f"{name} is met less than before: {report.after.parts[name].value:.2f} instead of "
                f"{report.before.parts[name].value:.2f}, where 0 is always.",
            )  # fmt: skip


def _values(report: PolicyReport, name: Measure) -> tuple[float, float]:
    return report.before.means[name].value, report.after.means[name].value


def _alarm(code: AlarmCode, is_blocking: bool, detail: str) -> Alarm:
    severity: Severity = "blocks" if is_blocking else "warns"
    return Alarm(code=code, severity=severity, detail=detail)


def _signed(change: Change) -> str:
    return f"{change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f})"
