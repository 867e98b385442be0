"""Accuracy by slice, the gap between the best and the worst, and who the feedback comes from.

A slice value with few comparisons is counted but not named: its accuracy would say nothing, and a
rare value could point at a person.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.audit.held_out import Compared
from services.trainer.audit.intervals import (
    bootstrapped,
    difference,
    holm,
    share,
)
from services.trainer.examples import PreferencePair, RatedResponse, RewardDataset
from services.trainer.groups import Groups, numbered
from services.trainer.heads import Floats
from services.trainer.reward_metrics import Metrics
from shared.contracts.audit import FairnessGap, Representation, SliceAudit

FEWEST_PAIRS = 10
FEWEST_GROUPS = 5
MOST_VALUES = 100

_DEALS = 400
_UNDER = 0.8  # the four-fifths rule

Mask = NDArray[np.bool_]
Values = dict[tuple[str, str], Mask]
Population = Mapping[str, Mapping[str, float]]


def audit_slices(compared: Compared) -> tuple[list[SliceAudit], int]:
    """Accuracy of every slice value with enough comparisons, and how many values have too few."""
    values, unnamed = _values(compared)
    measured = []
    for (name, value), rows in values.items():
        inside = [group for group, is_in in zip(compared.groups, rows, strict=True) if is_in]
        found, p = difference(compared.hits, rows, compared.groups)
        accuracy = share(compared.hits[rows], inside)
        measured.append((name, value, int(rows.sum()), accuracy, found, p))
    adjusted = holm([one[-1] for one in measured])
    return [
        SliceAudit(
            name=name, value=value, pairs=pairs, accuracy=accuracy, difference=found, p_adjusted=p
        )
        for (name, value, pairs, accuracy, found, _), p in zip(measured, adjusted, strict=True)
    ], unnamed


def slice_metrics(slices: Iterable[SliceAudit]) -> Metrics:
    """The slices' accuracies by name: `slice/<name>=<value>/pair_accuracy`, and its interval."""
    metrics: Metrics = {}
    for one in slices:
        key = f"slice/{one.name}={one.value}/pair_accuracy"
        metrics[key] = one.accuracy.value
        metrics[f"{key}_low"], metrics[f"{key}_high"] = one.accuracy.low, one.accuracy.high
        metrics[f"{key}_pairs"] = one.pairs
    return metrics


def audit_fairness(compared: Compared, *, seed: int) -> list[FairnessGap]:
    """For each slice with two values or more, how far apart the model's accuracies are."""
    by_name: dict[str, dict[str, Mask]] = defaultdict(dict)
    for (name, value), rows in _values(compared)[0].items():
        by_name[name][value] = rows
    return [
        _gap(name, values, compared, seed=seed)
        for name, values in by_name.items()
        if len(values) > 1
    ]


def audit_representation(dataset: RewardDataset, population: Population) -> list[Representation]:
    """The share of each group of the population in the feedback, training and held out."""
    pairs = [*dataset.train_pairs, *dataset.test_pairs]
    judged: list[RatedResponse | PreferencePair] = [*dataset.rated]
    judged += [pair for pair in pairs if pair.source != "rating"]
    found = []
    for name, shares in population.items():
        told = [one for one in judged if name in one.slices]
        for value, expected in shares.items() if told else ():
            is_one = np.array([one.slices[name] == value for one in told], dtype=np.float64)
            actual = share(is_one, [one.group for one in told])
            found.append(
                Representation(
                    name=name,
                    value=value,
                    population=expected,
                    feedback=actual,
                    is_underrepresented=actual.high < expected and actual.value < _UNDER * expected,
                )
            )
    return found


def _values(compared: Compared) -> tuple[Values, int]:
    """The rows of each value that has enough comparisons but not all of them, most first."""
    counts: Counter[tuple[str, str]] = Counter()
    groups: dict[tuple[str, str], set[bytes | str]] = defaultdict(set)
    for pair in compared.pairs:
        counts.update(pair.slices.items())
        for item in pair.slices.items():
            groups[item].add(pair.group)
    whole = len(set(compared.groups))
    enough = [
        item
        for item, pairs in counts.most_common()
        if pairs >= FEWEST_PAIRS and len(groups[item]) >= FEWEST_GROUPS
    ]
    kept = [item for item in enough if whole - len(groups[item]) >= FEWEST_GROUPS][:MOST_VALUES]
    rows = {
        (name, value): np.array([pair.slices.get(name) == value for pair in compared.pairs])
        for name, value in sorted(kept)
    }
    return rows, len(counts) - len(enough)


def _gap(name: str, values: Mapping[str, Mask], compared: Compared, *, seed: int) -> FairnessGap:
    outcomes, groups = compared.hits, compared.groups
    masks = list(values.values())
    accuracy = {value: float(outcomes[rows].mean()) for value, rows in values.items()}
    best, worst = max(accuracy, key=accuracy.__getitem__), min(accuracy, key=accuracy.__getitem__)
    found = bootstrapped(lambda weights: _widest(outcomes, masks, weights), groups, seed=seed)
    dealt = _dealt_gaps(outcomes, masks, groups, seed=seed)
    return FairnessGap(
        name=name,
        best=best,
        worst=worst,
        gap=found,
        gap_if_equal=float(dealt.mean()),
        p=float((1 + (dealt >= found.value).sum()) / (1 + len(dealt))),
    )


def _widest(outcomes: Floats, masks: Sequence[Mask], weights: Floats) -> float:
    drawn = [rows for rows in masks if weights[rows].sum() > 0]
    accuracies = [float(np.average(outcomes[rows], weights=weights[rows])) for rows in drawn]
    return max(accuracies, default=0.0) - min(accuracies, default=0.0)


def _dealt_gaps(outcomes: Floats, masks: Sequence[Mask], groups: Groups, *, seed: int) -> Floats:
    """Gaps when whole prompt groups exchange their outcomes, so that no value matters.

    Groups are exchanged among those of equal size, so that every value keeps its rows.
    """
    member, draw = numbered(groups), np.random.default_rng(seed)
    sizes = np.bincount(member)
    by_group = np.argsort(member, kind="stable")
    starts = np.cumsum(sizes) - sizes
    whole = np.ones(len(outcomes))
    gaps = np.empty(_DEALS)
    for at in range(_DEALS):
        taken = np.arange(len(sizes))
        for size in np.unique(sizes):
            alike = np.flatnonzero(sizes == size)
            taken[alike] = draw.permutation(alike)
        rows = np.concatenate([by_group[starts[one] : starts[one] + sizes[one]] for one in taken])
        dealt = np.empty(len(outcomes))
        dealt[by_group] = outcomes[rows]
        gaps[at] = _widest(dealt, masks, whole)
    return gaps
