"""Whether a new model may take the place of the live one, judged on the same held-out rows.

The difference in accuracy is bootstrapped over whole prompt groups, since responses to one prompt
are not independent. Two imaginary pairs, one won by each model, are among the data: without them
two models that agree on ten pairs would count as proven equal. With few groups a bootstrap finds
differences too easily, so `better` must also stand up to an exact test on the same groups.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import binom

from services.trainer.groups import group_sums, portions, resampled_means
from services.trainer.heads import Floats
from services.trainer.reward_metrics import Metrics, hits
from shared.db.columns import Json

LEVEL = 0.05  # one-sided
RESAMPLES = 4000
_Z_LEVEL, _Z_POWER = 1.6449, 0.8416  # standard normal quantiles of 95 % and of 80 % power


class Verdict(StrEnum):
    """What the held-out rows say of a candidate, from the best to the least useful news."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    UNDECIDABLE = "undecidable"
    WORSE = "worse"


@dataclass(frozen=True)
class Comparison:
    """A candidate against one opponent on the same n held-out pairs.

    Attributes:
        opponent: `champion`, `length_only` or `constant`.
        verdict: see `compare`.
        pairs, groups: held-out pairs, and the prompt groups they belong to.
        accuracy, opponent_accuracy: share of pairs each gets right, a tie counting half.
        difference: accuracy minus the opponent's, −1 to 1.
        low, high: bounds of the difference, each one-sided at 95 %.
        p: one-sided p-value of "not better than the opponent", by the bootstrap.
        pairs_needed: about how many pairs would decide it with 80 % power; None when decided.
        p_exact: the same as `p` by `exact_p`.
        wins, losses: pairs on which the candidate does better, and worse, than the opponent.
    """

    opponent: str
    verdict: Verdict
    pairs: int
    groups: int
    accuracy: float
    opponent_accuracy: float
    difference: float
    low: float
    high: float
    p: float
    pairs_needed: int | None
    p_exact: float
    wins: int
    losses: int


@dataclass(frozen=True)
class AbsoluteGates:
    """Least qualities that a deployment demands whatever the live model is; None: not demanded."""

    min_correlation: float | None = None
    max_mse: float | None = None
    min_accuracy: float | None = None

    def failures(self, metrics: Metrics) -> list[str]:
        """One sentence for each demand that the held-out metrics do not meet.

        Ratings are held against the rating to expect: against the probability of a good one,
        which leaps where people's ratings rise, even the best model would have a large error.
        """
        demands = (
            ("predicted_rating_correlation", self.min_correlation, 1.0, "correlation with ratings"),
            ("predicted_rating_mse", self.max_mse, -1.0, "mean squared error"),
            ("pair_accuracy", self.min_accuracy, 1.0, "pair accuracy"),
        )
        return [
            f"{name} is {_shown(metrics.get(key))}, the gate is {demanded:g}"
            for key, demanded, sign, name in demands
            if demanded is not None and not _reaches(metrics.get(key), demanded, sign)
        ]


def compare(
    margins: Floats,
    opponent_margins: Floats,
    groups: Sequence[bytes | str],
    *,
    opponent: str,
    margin: float,
    seed: int = 0,
) -> Comparison:
    """How a candidate stands against an opponent on the same pairs.

    `better`: the difference is above 0, one-sided p < 0.05 by the bootstrap and by the exact test.
    `not_worse`: its one-sided 95 % lower bound lies above −margin. `worse`: its upper bound lies
    below 0. Else `undecidable`.

    Args:
        margins: raw reward of chosen minus rejected by the candidate, shape (pairs,).
        opponent_margins: the same by the opponent, shape (pairs,).
        groups: prompt group of each pair, length pairs.
        opponent: what the candidate is compared with.
        margin: accuracy that may be lost, 0–1.
        seed: of the bootstrap.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (the cluster bootstrap).
    """
    return compare_outcomes(
        hits(margins), hits(opponent_margins), groups, opponent=opponent, margin=margin, seed=seed
    )


def compare_outcomes(
    outcomes: Floats,
    opponent_outcomes: Floats,
    groups: Sequence[bytes | str],
    *,
    opponent: str,
    margin: float,
    seed: int = 0,
) -> Comparison:
    """The same of outcomes from 0 (wrong) to 1 (right), shape (cases,); see `compare`."""
    gain = outcomes - opponent_outcomes
    means = bootstrap_means(gain, groups, seed)
    low, high = (float(bound) for bound in np.quantile(means, [LEVEL, 1 - LEVEL]))
    p, exact = float((means <= 0).mean()), exact_p(gain, groups, seed=seed)
    verdict = verdict_of(max(p, exact), low, high, margin)
    decided = verdict is not Verdict.UNDECIDABLE
    variance = float(means.var()) * (len(gain) + 2)
    difference = _mean(gain)
    needed = pairs_needed(variance, effect_to_show(difference, margin))
    return Comparison(
        opponent=opponent,
        verdict=verdict,
        pairs=len(gain),
        groups=len(set(groups)),
        accuracy=_mean(outcomes),
        opponent_accuracy=_mean(opponent_outcomes),
        difference=difference,
        low=low,
        high=high,
        p=p,
        pairs_needed=None if decided else needed,
        p_exact=exact,
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
    )


def pairs_needed(variance: float, effect: float) -> int:
    """Held-out pairs that show an accuracy difference with 80 % power at a one-sided 5 % level.

    Args:
        variance: of the difference per pair; 0.2 when the models disagree on a fifth of them.
        effect: the difference to show, 0–1.
    """
    return int(np.ceil(variance * ((_Z_LEVEL + _Z_POWER) / effect) ** 2))


def exact_p(gain: Floats, groups: Sequence[bytes | str], *, seed: int = 0) -> float:
    """One-sided p-value of "not better" that holds for any number of groups, 0–1.

    Of two equally good models each is as likely to be the one that wins a group, so the sign of
    every group's total gain is a fair coin. Where all groups that differ count the same, as with
    one pair each, that is McNemar's exact test; else the signs are drawn 4,000 times.

    Args:
        gain: how much better the candidate does on each pair, −1 to 1, shape (pairs,).
        groups: prompt group of each pair, length pairs.
        seed: of the draws.

    Sources: McNemar 1947; Fisher 1935, "The design of experiments", section 21 (sign flipping).
    """
    totals = group_sums(gain, groups)[0]
    totals = totals[totals != 0]
    sizes = np.abs(totals)
    if len(set(sizes.tolist())) <= 1:
        return float(binom.sf((totals > 0).sum() - 1, len(totals), 0.5))
    generator = np.random.default_rng(seed)
    reached = 0
    for count in portions(RESAMPLES, len(sizes)):
        signs = generator.integers(2, size=(count, len(sizes))) * 2 - 1
        reached += int((signs @ sizes >= totals.sum() - 1e-9).sum())
    return (1 + reached) / (1 + RESAMPLES)


def gate_report(
    comparisons: Sequence[Comparison],
    failures: Sequence[str],
    policy: str,
    *,
    warnings: Sequence[str] = (),
    slices: Sequence[Json] = (),
    split: Json | None = None,
) -> Json:
    """The gate's result as it is stored with a model version.

    `passed` says that the model is good enough, `promotes` that the policy lets it go live by
    itself; under the policy `manual`, and after a warning, a person decides. `slices` are what it
    was judged on apart, `split` is how the held-out rows came to be (see
    `services.trainer.placing`).
    """
    verdict = _least([comparison.verdict for comparison in comparisons])
    enough = {Verdict.BETTER} if policy == "better" else {Verdict.BETTER, Verdict.NOT_WORSE}
    passed = verdict in enough and not failures
    return {
        "verdict": str(verdict),
        "passed": passed,
        "promotes": passed and policy != "manual" and not warnings,
        "policy": str(policy),
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "failures": list(failures),
        "warnings": list(warnings),
        "slices": list(slices),
        "split": split or {},
    }


def undecided(report: Json, why: str) -> Json:
    """The report of a model that was not judged by all that it has to be: a person decides."""
    return report | {
        "verdict": str(Verdict.UNDECIDABLE),
        "passed": False,
        "promotes": False,
        "failures": [why, *report["failures"]],
    }


def explain(report: Json) -> str:
    """The gate's result in one line, for people."""
    told = [one.get("told") or _told(one) for one in report["comparisons"]]
    told += [*report["failures"], *report.get("warnings", [])]
    return f"{report['verdict'].replace('_', ' ')}: " + "; ".join(told)


def audit_warnings(metrics: Metrics) -> list[str]:
    """What the audit found that accuracy hides, and that a person should know before it is live."""
    if metrics.get("length_verdict") != "beyond_people":
        return []
    return ["it prefers length beyond people, so a person has to promote it (see its card)"]


def bootstrap_means(values: Floats, groups: Sequence[bytes | str], seed: int = 0) -> Floats:
    """Means over resampled groups, two imaginary values 1 and −1 among them; shape (RESAMPLES,)."""
    sums, counts = group_sums(values, groups)
    sums, counts = np.append(sums, [1.0, -1.0]), np.append(counts, [1, 1])
    return resampled_means(sums, counts, resamples=RESAMPLES, seed=seed)


def effect_to_show(difference: float, margin: float) -> float:
    """The difference that more pairs would have to show, if this is about the true one.

    More than the margin is not promised: the difference may be luck.
    """
    return min(margin, max(difference + margin, -difference))


def verdict_of(p: float, low: float, high: float, margin: float) -> Verdict:
    """What a difference says, by its p-value of "not better" and its one-sided bounds."""
    if p < LEVEL:
        return Verdict.BETTER
    if low > -margin:
        return Verdict.NOT_WORSE
    return Verdict.WORSE if high < 0 else Verdict.UNDECIDABLE


def _least(verdicts: Sequence[Verdict]) -> Verdict:
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.UNDECIDABLE)


def _told(comparison: Json) -> str:
    against = comparison["opponent"].replace("_", " ")
    text = (
        f"{comparison['accuracy']:.3f} against {comparison['opponent_accuracy']:.3f} of {against} "
        f"on {comparison['pairs']} held-out pairs, difference {comparison['difference']:+.3f} "
        f"(95 % bounds {comparison['low']:+.3f} to {comparison['high']:+.3f})"
    )
    needed = comparison["pairs_needed"]
    return f"{text}; about {needed} pairs would decide" if needed else text


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.5


def _reaches(value: float | int | str | None, demanded: float, sign: float) -> bool:
    return isinstance(value, int | float) and sign * value >= sign * demanded


def _shown(value: float | int | str | None) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "unknown"
