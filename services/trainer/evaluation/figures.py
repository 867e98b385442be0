"""The figures of one evaluation: every contestant, overall and per subset, and what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from statistics import fmean

import numpy as np

from services.trainer.evaluation.cases import ALL, Case, by_subset
from services.trainer.evaluation.outcomes import (
    Outcomes,
    Split,
    chance,
    outcomes_of,
    reward_cases,
)
from services.trainer.evaluation.ties import TiesScore, chance_of_ties, ties_score
from services.trainer.gates import Comparison, compare_outcomes
from services.trainer.heads import Floats
from services.trainer.reward_metrics import Interval, share_interval
from shared.db.columns import Json
from shared.ml.scorer import Pair

CHANCE, LONGEST, SHORTEST = "random", "longest", "shortest"
# With fewer cases than this an interval says that nothing is known, and a subset's would mislead.
FEWEST = 2


@dataclass(frozen=True)
class Contestant:
    """A model or a baseline, and what it does on every case; `rewards` is None for chance."""

    name: str
    is_model: bool
    outcomes: Outcomes
    rewards: Sequence[Split] | None
    about: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """How one contestant does on some cases, as means with 95 % intervals.

    Attributes:
        score: what stands for the subset: the score of ties where there are, else best-of-n.
        ties: see `TiesScore`; None when no prompt has several right responses.
    """

    cases: int
    groups: int
    best_of_n: Interval
    reciprocal_rank: Interval
    pair_accuracy: Interval
    ties: TiesScore | None

    @property
    def score(self) -> float:
        return self.best_of_n.mean if self.ties is None else self.ties.score

    def as_json(self) -> Json:
        """The figures as the JSON report holds them."""
        return asdict(self) | {"score": self.score}


@dataclass(frozen=True)
class Standing:
    """One contestant: overall, per subset, and the mean of the subsets' scores."""

    contestant: Contestant
    overall: Figures
    subsets: Mapping[str, Figures]

    @property
    def subset_mean(self) -> float:
        """Mean of the subsets' scores, each counting once; the overall one when there are none."""
        return fmean(one.score for one in self.subsets.values() or [self.overall])


@dataclass(frozen=True)
class Difference:
    """Two contestants on the same cases; the comparison is of `left` against `right`."""

    left: str
    right: str
    subset: str
    comparison: Comparison


@dataclass(frozen=True)
class Evaluated:
    """Everything one evaluation found."""

    standings: Sequence[Standing]
    differences: Sequence[Difference]


def baselines(cases: Sequence[Case]) -> list[Contestant]:
    """What any model has to beat: chance, the longest response and the shortest one."""
    longest = reward_cases(_length, cases)
    shortest = reward_cases(lambda pair: -_length(pair), cases)
    return [
        Contestant(CHANCE, False, chance(cases), None),
        Contestant(LONGEST, False, outcomes_of(longest), longest),
        Contestant(SHORTEST, False, outcomes_of(shortest), shortest),
    ]


def evaluate_cases(
    cases: Sequence[Case], models: Sequence[Contestant], *, margin: float
) -> Evaluated:
    """The figures of the models and of the baselines beside them.

    Args:
        cases: what they were asked.
        models: at least one.
        margin: accuracy that a model may be behind and still count as not worse, 0–1.
    """
    subsets = by_subset(cases)
    rulers = baselines(cases)
    standings = [_standing(one, cases, subsets) for one in [*models, *rulers]]
    everywhere = {ALL: list(range(len(cases))), **subsets}
    rivals = [(left, right, everywhere) for right, left in combinations(models, 2)]
    whole = {ALL: everywhere[ALL]}
    rivals += [
        (model, ruler, whole) for model in models for ruler in rulers if ruler.rewards is not None
    ]
    return Evaluated(
        standings,
        [
            Difference(left.name, right.name, subset, _compared(left, right, cases, at, margin))
            for left, right, where in rivals
            for subset, at in where.items()
            if len(at) >= FEWEST
        ],
    )


def _standing(
    contestant: Contestant, cases: Sequence[Case], subsets: Mapping[str, list[int]]
) -> Standing:
    everywhere = list(range(len(cases)))
    found = {name: _figures(contestant, cases, at) for name, at in subsets.items()}
    return Standing(contestant, _figures(contestant, cases, everywhere), found)


def _figures(contestant: Contestant, cases: Sequence[Case], at: Sequence[int]) -> Figures:
    some, rows = [cases[place] for place in at], np.array(at)
    groups = [case.group for case in some]
    if contestant.rewards is None:
        ties = chance_of_ties(some) if any(case.is_tied for case in some) else None
    else:
        ties = ties_score(some, [contestant.rewards[place] for place in at])
    found = contestant.outcomes

    def interval(values: Floats) -> Interval:
        return share_interval(values[rows], groups)

    return Figures(
        len(some),
        len(set(groups)),
        interval(found.best_of_n),
        interval(found.reciprocal_rank),
        interval(found.pair_accuracy),
        ties,
    )


def _compared(
    left: Contestant, right: Contestant, cases: Sequence[Case], at: Sequence[int], margin: float
) -> Comparison:
    """The gate's comparison, by the share of right responses among the best of each case."""
    rows = np.array(at)
    return compare_outcomes(
        left.outcomes.best_of_n[rows],
        right.outcomes.best_of_n[rows],
        [cases[place].group for place in at],
        opponent=right.name,
        margin=margin,
    )


def _length(pair: Pair) -> float:
    return float(len(pair.response))
