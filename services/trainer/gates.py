"""Whether a new model may take the place of the live one, judged on the same held-out rows.

The difference in accuracy is bootstrapped over whole prompt groups, since responses to one prompt
are not independent. Two imaginary pairs, one won by each model, are among the data: without them
two models that agree on ten pairs would count as proven equal.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np

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
        p: one-sided p-value of "not better than the opponent".
        pairs_needed: about how many pairs would decide it with 80 % power; None when decided.
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


@dataclass(frozen=True)
class AbsoluteGates:
    """Least qualities that a deployment demands whatever the live model is; None: not demanded."""

    min_correlation: float | None = None
    max_mse: float | None = None
    min_accuracy: float | None = None

    def failures(self, metrics: Metrics) -> list[str]:
        """One sentence for each demand that the held-out metrics do not meet."""
        demands = (
            ("rated_correlation", self.min_correlation, 1.0, "correlation with ratings"),
            ("rated_mse", self.max_mse, -1.0, "mean squared error"),
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

    `better`: the difference is above 0, one-sided p < 0.05. `not_worse`: its one-sided 95 % lower
    bound lies above −margin. `worse`: its upper bound lies below 0. Else `undecidable`.

    Args:
        margins: raw reward of chosen minus rejected by the candidate, shape (pairs,).
        opponent_margins: the same by the opponent, shape (pairs,).
        groups: prompt group of each pair, length pairs.
        opponent: what the candidate is compared with.
        margin: accuracy that may be lost, 0–1.
        seed: of the bootstrap.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (the cluster bootstrap).
    """
    gain = hits(margins) - hits(opponent_margins)
    means = _bootstrap(gain, groups, seed)
    low, high = (float(bound) for bound in np.quantile(means, [LEVEL, 1 - LEVEL]))
    p = float((means <= 0).mean())
    verdict = _verdict(p, low, high, margin)
    decided = verdict is not Verdict.UNDECIDABLE
    variance = float(means.var()) * (len(gain) + 2)
    return Comparison(
        opponent=opponent,
        verdict=verdict,
        pairs=len(gain),
        groups=len(set(groups)),
        accuracy=_mean(hits(margins)),
        opponent_accuracy=_mean(hits(opponent_margins)),
        difference=_mean(gain),
        low=low,
        high=high,
        p=p,
        pairs_needed=None if decided else pairs_needed(variance, margin),
    )


def pairs_needed(variance: float, effect: float) -> int:
    """Held-out pairs that show an accuracy difference with 80 % power at a one-sided 5 % level.

    Args:
        variance: of the difference per pair; 0.2 when the models disagree on a fifth of them.
        effect: the difference to show, 0–1.
    """
    return int(np.ceil(variance * ((_Z_LEVEL + _Z_POWER) / effect) ** 2))


def gate_report(comparisons: Sequence[Comparison], failures: Sequence[str], policy: str) -> Json:
    """The gate's result as it is stored with a model version.

    `passed` says that the model is good enough, `promotes` that the policy lets it go live by
    itself; under the policy `manual` a person decides.
    """
    verdict = _least([comparison.verdict for comparison in comparisons])
    enough = {Verdict.BETTER} if policy == "better" else {Verdict.BETTER, Verdict.NOT_WORSE}
    passed = verdict in enough and not failures
    return {
        "verdict": str(verdict),
        "passed": passed,
        "promotes": passed and policy != "manual",
        "policy": str(policy),
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "failures": list(failures),
    }


def explain(report: Json) -> str:
    """The gate's result in one line, for people."""
    told = [_told(comparison) for comparison in report["comparisons"]]
    return f"{report['verdict'].replace('_', ' ')}: " + "; ".join([*told, *report["failures"]])


def _bootstrap(gain: Floats, groups: Sequence[bytes | str], seed: int) -> Floats:
    """Resampled mean differences, shape (RESAMPLES,)."""
    places: dict[bytes | str, int] = {}
    member = np.array([places.setdefault(group, len(places)) for group in groups], dtype=np.int64)
    sums = np.concatenate([np.bincount(member, weights=gain), [1.0, -1.0]])
    counts = np.concatenate([np.bincount(member), [1, 1]])
    generator = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for at in range(RESAMPLES):  # one row at a time: all at once would take gigabytes
        drawn = generator.integers(len(sums), size=len(sums))
        means[at] = sums[drawn].sum() / counts[drawn].sum()
    return means


def _verdict(p: float, low: float, high: float, margin: float) -> Verdict:
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
