"""Whether a policy may take the place of the live one: surely better, and nothing suspicious."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.trainer.config import TrainerSettings
from services.trainer.gates import (
    Comparison,
    Verdict,
    effect_to_show,
    exact_p,
    gate_report,
    pairs_needed,
    verdict_of,
)
from services.trainer.heads import Floats
from services.trainer.policies.paired import change_with
from shared.contracts.audit import Estimate
from shared.contracts.policy_report import Change, PolicyReport, Severity
from shared.db.columns import Json
from shared.errors import ArtifactError, ConfigError

# What a policy may lose and still count as not worse, in standard deviations of the opponent's
# rewards: half of what Cohen 1988 calls a small effect.
MARGIN = 0.1
_ONE_SIDED = 0.90  # both ends of this interval are one-sided at 95 %


@dataclass(frozen=True)
class PolicyComparison(Comparison):
    """A policy against another on n held-out prompts; each prompt is a pair and a group.

    `accuracy` is the share of prompts on which it gets more reward, ties counting half, and
    `difference` is of these shares; the verdict is on the rewards.

    Attributes:
        reward, opponent_reward: means over the prompts.
        reward_difference, reward_low, reward_high: and one-sided bounds at 95 %.
        told: all of it in one line.
    """

    reward: float
    opponent_reward: float
    reward_difference: float
    reward_low: float
    reward_high: float
    told: str


def judge_policy(
    report: PolicyReport,
    live: Path | None,
    *,
    beside: Callable[[Path], PolicyReport],
    settings: TrainerSettings,
) -> Json:
    """The gate's result on a policy; `beside` judges it beside the one in a folder.

    A live policy that cannot be opened leaves the question open: a person has to decide.
    """
    if live is None:
        return policy_gate(report, None, settings)
    try:
        return policy_gate(report, beside(live), settings)
    except (ArtifactError, ConfigError) as error:
        told = f"the live policy cannot be opened: {error.detail}"
        return gate_report([], [told, *_told_of(report, "blocks")], settings.gate)


def policy_gate(report: PolicyReport, live: PolicyReport | None, settings: TrainerSettings) -> Json:
    """The gate's result as it is stored with a model version; see `gates.gate_report`.

    Args:
        report: the policy after training beside the one that training began with.
        live: the same policy beside the live one instead, on the same prompts; None without one.
        settings: what has to be reached to go live without a person.
    """
    opponents = {"base": report} | ({"champion": live} if live else {})
    comparisons = [
        compare_policies(one, name) for name, one in opponents.items() if one.judged_by is not None
    ]
    failures = _told_of(report, "blocks")
    if len(comparisons) < len(opponents):
        failures.insert(0, "no reward model judged its responses, so a person has to decide")
    return gate_report(comparisons, failures, settings.gate, warnings=_told_of(report, "warns"))


def _told_of(report: PolicyReport, severity: Severity) -> list[str]:
    return [
        f"{one.code}: {one.detail.rstrip('.')}" for one in report.alarms if one.severity == severity
    ]


def compare_policies(report: PolicyReport, opponent: str) -> PolicyComparison:
    """How a policy stands against the one before, by its reward on the same prompts.

    `better`: the paired difference is above 0 by the t-test and by turning signs, one-sided
    p < 0.05. `not_worse`: its lower bound lies above −`MARGIN` standard deviations. `worse`: its
    upper bound lies below 0. Else `undecidable`. As at the gate of reward models there are two
    imaginary prompts, one lost and one won by a standard deviation: without them policies that
    write the same to three prompts would be known to be equal.
    """
    before, after, won = _judged(report)
    gain, count = after - before, len(before)
    spread = float(before.std()) or 1.0
    squares = float(((gain - gain.mean()) ** 2).sum()) + 2 * spread**2
    error = float(np.sqrt(squares / max(1, count - 1) / count))
    found = change_with(float(gain.mean()), error, count, level=_ONE_SIDED)
    p = found.p / 2 if found.value > 0 else 1 - found.p / 2
    exact, margin = exact_p(gain, [str(at) for at in range(count)]), MARGIN * spread
    verdict = verdict_of(max(p, exact), found.low, found.high, margin)
    verdict = verdict if count > 1 else Verdict.UNDECIDABLE
    is_decided = verdict is not Verdict.UNDECIDABLE
    needed = pairs_needed(error**2 * count, effect_to_show(found.value, margin))
    return PolicyComparison(
        opponent=opponent, verdict=verdict, pairs=count, groups=count, accuracy=won.value,
        opponent_accuracy=1 - won.value, difference=2 * won.value - 1, low=2 * won.low - 1,
        high=2 * won.high - 1, p=p, pairs_needed=None if is_decided else needed, p_exact=exact,
        wins=int((gain > 0).sum()), losses=int((gain < 0).sum()),
        reward=float(after.mean()), opponent_reward=float(before.mean()),
        reward_difference=found.value, reward_low=found.low, reward_high=found.high,
        told=_told(opponent, report, found, None if is_decided else needed),
    )  # fmt: skip


def _told(opponent: str, report: PolicyReport, found: Change, needed: int | None) -> str:
    before, after, won = _judged(report)
    name = "reward" if report.judged_by == "reward" else "second reward model's reward"
    text = (
        f"{name} {after.mean():.3f} against {before.mean():.3f} of {opponent} on {len(before)} "
        f"held-out prompts, difference {found.value:+.3f} (95 % bounds {found.low:+.3f} to "
        f"{found.high:+.3f}), more on {won.value:.0%} of them"
    )
    return f"{text}; about {needed} prompts would decide" if needed else text


def _judged(report: PolicyReport) -> tuple[Floats, Floats, Estimate]:
    """The rewards before and after, shape (n,), and on how many prompts there is more after."""
    by = report.judged_by
    won = report.win_rate if by == "reward" else report.gold_win_rate
    if by is None or won is None:
        raise ValueError("nothing judged these policies")
    first, second = (
        np.array([getattr(getattr(row, side), by) for row in report.rows], dtype=np.float64)
        for side in ("before", "after")
    )
    return first, second, won
