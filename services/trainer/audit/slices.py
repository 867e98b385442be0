"""Accuracy by slice, the gap between the best and the worst, and who the feedback comes from.

A slice value with few comparisons is counted but not named: its accuracy would say nothing, and a
rare value could point at a person.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.audit.held_out import Compared
from services.trainer.audit.intervals import difference, holm, resampled, share
from services.trainer.examples import Judgement, PreferencePair, RewardDataset
from services.trainer.groups import Groups, numbered
from services.trainer.heads import Floats, Indices
from services.trainer.reward_metrics import Metrics
from shared.contracts.audit import Estimate, FairnessGap, Representation, SliceAudit

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
    by_name: dict[str, list[str]] = defaultdict(list)
    for name, value in _values(compared)[0]:
        by_name[name].append(value)
    return [
        _gap(name, values, compared, seed=seed)
        for name, values in by_name.items()
        if len(values) > 1
    ]


def audit_representation(dataset: RewardDataset, population: Population) -> list[Representation]:
    """The share of each group of the population in the feedback, training and held out."""
    said = _said_once(dataset)
    found = []
    for name, shares in population.items():
        told = [one for one in said if name in one.slices]
        groups = [one.group for one in told]
        for value, expected in shares.items():
            is_one = np.array([one.slices[name] == value for one in told], dtype=np.float64)
            actual = share(is_one, groups) if told else None
            found.append(
                Representation(
                    name=name,
                    value=value,
                    population=expected,
                    feedback=actual,
                    is_underrepresented=actual is not None and _is_under(actual, expected),
                )
            )
    return found


def _is_under(actual: Estimate, expected: float) -> bool:
    return actual.high < expected and actual.value < _UNDER * expected


def _said_once(dataset: RewardDataset) -> list[Judgement]:
    """Every post once: as it was said, and not as the comparisons that ratings and rankings make.

    A correction beside a rating is one post, though the dataset holds it as two judgements.
    """
    by_post: dict[str | int, Judgement] = {}
    for at, one in enumerate(_judgements(dataset)):
        row = next(iter(one.row_ids), "") if isinstance(one, PreferencePair) else one.row_id
        by_post.setdefault(row or at, one)
    return list(by_post.values())


def _judgements(dataset: RewardDataset) -> Iterator[Judgement]:
    yield from dataset.rated
    for pair in (*dataset.train_pairs, *dataset.test_pairs):
        if pair.source not in ("rating", "ranking"):
            yield pair
    yield from (*dataset.train_ties, *dataset.test_ties)
    yield from (*dataset.train_rankings, *dataset.test_rankings)
    yield from (*dataset.train_steps, *dataset.test_steps)


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


def _gap(name: str, values: Sequence[str], compared: Compared, *, seed: int) -> FairnessGap:
    places = {value: at for at, value in enumerate(values)}
    told = [places.get(pair.slices.get(name, ""), len(values)) for pair in compared.pairs]
    codes, outcomes, groups = np.array(told), compared.hits, compared.groups
    accuracy = _accuracies(outcomes, codes, np.ones(len(codes)), len(values))
    gap = _widest(accuracy)
    dealt = _dealt_gaps(outcomes, codes, groups, values=len(values), seed=seed)
    reach = _reach(
        _accuracies(outcomes, codes, weights, len(values)) - accuracy
        for weights in resampled(groups, seed=seed)
    )
    return FairnessGap(
        name=name,
        best=values[int(accuracy.argmax())],
        worst=values[int(accuracy.argmin())],
        gap=Estimate(value=gap, low=max(0.0, gap - reach), high=min(1.0, gap + reach)),
        gap_if_equal=float(dealt.mean()),
        p=float((1 + (dealt >= gap).sum()) / (1 + len(dealt))),
    )


def _reach(errors: Iterable[Floats]) -> float:
    """How far the widest gap may be from the true one, at 95 %.

    No difference of two values is off by more than the largest error minus the smallest, so a gap
    that was chosen by looking is not either. (A percentile interval of the widest gap would hardly
    ever cover values that are equally good.)

    Args:
        errors: of every value's accuracy in each sample, shape (values,).

    Source: Hsu 1996, "Multiple comparisons", chapter 5 (all pairwise differences at once).
    """
    return float(np.quantile([_widest(one) for one in errors], 0.95))


def _accuracies(outcomes: Floats, codes: Indices, weights: Floats, values: int) -> Floats:
    """Accuracy of each value, NaN of one that weighs nothing; further codes are of none of them."""
    total = np.bincount(codes, weights=weights, minlength=values)[:values]
    right = np.bincount(codes, weights=weights * outcomes, minlength=values)[:values]
    accuracies = np.full(values, np.nan)
    np.divide(right, total, out=accuracies, where=total > 0)
    return accuracies


def _widest(accuracies: Floats) -> float:
    known = accuracies[~np.isnan(accuracies)]
    return float(np.ptp(known)) if len(known) else 0.0


def _dealt_gaps(
    outcomes: Floats, codes: Indices, groups: Groups, *, values: int, seed: int
) -> Floats:
    """Gaps when whole prompt groups exchange their outcomes, so that no value matters.

    Groups are exchanged among those of equal size, so that every value keeps its rows.
    """
    member, draw = numbered(groups), np.random.default_rng(seed)
    sizes = np.bincount(member)
    by_group = np.argsort(member, kind="stable")
    starts = np.cumsum(sizes) - sizes
    alike = [  # the rows of all groups of one size, shape (groups, size)
        by_group[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)
    ]
    dealt, whole = np.empty(len(outcomes)), np.ones(len(outcomes))
    gaps = np.empty(_DEALS)
    for at in range(_DEALS):
        for rows in alike:
            dealt[rows] = outcomes[draw.permutation(rows)]
        gaps[at] = _widest(_accuracies(dealt, codes, whole, values))
    return gaps
