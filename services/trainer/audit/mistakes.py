"""The held-out comparisons that a model gets most wrong, by row id; texts only for who may read."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.audit.held_out import Compared
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.process import rated_steps
from shared.contracts.audit import AuditReport, Mistake
from shared.db.audit import as_id
from shared.ml.scorer import Pair

MOST = 20


def worst_mistakes(compared: Compared) -> list[Mistake]:
    """Up to 20 comparisons ranked against people, the largest wrong margin first."""
    margins, keys = compared.margins, _keys(compared.pairs)
    return [
        Mistake(row_ids=list(keys[at][0]), place=keys[at][1], margin=float(margins[at]))
        for at in np.argsort(margins, kind="stable")[:MOST]
        if margins[at] < 0
    ]


@dataclass(frozen=True)
class ReadMistake:
    """A mistake with its texts; None where the rows are no longer there."""

    mistake: Mistake
    sides: tuple[Pair, Pair] | None


def read_mistakes(
    report: AuditReport, dataset: RewardDataset, *, limit: int
) -> Iterator[ReadMistake]:
    """The worst mistakes with the texts that the dataset still holds of their rows."""
    sides_of = _matched(dataset) if report.compared_on == "matched_ratings" else _compared(dataset)
    for mistake in report.mistakes[:limit]:
        yield ReadMistake(mistake, sides_of(mistake))


def _compared(dataset: RewardDataset) -> Callable[[Mistake], tuple[Pair, Pair] | None]:
    pairs = dataset.test_pairs
    known = dict(zip(_keys(pairs), pairs, strict=True))

    def find(mistake: Mistake) -> tuple[Pair, Pair] | None:
        pair = known.get((tuple(mistake.row_ids), mistake.place))
        return None if pair is None else pair.sides

    return find


def _matched(dataset: RewardDataset) -> Callable[[Mistake], tuple[Pair, Pair] | None]:
    """By the rows, the better rated first: after an erasure other responses would be matched."""
    rated = [*dataset.test_rated, *rated_steps(dataset.test_steps)]
    known = {as_id(one.row_id): Pair(one.prompt, one.response) for one in rated}

    def find(mistake: Mistake) -> tuple[Pair, Pair] | None:
        sides = list(dict.fromkeys(known[row] for row in mistake.row_ids if row in known))
        return (sides[0], sides[1]) if len(sides) == 2 else None

    return find


def _keys(pairs: Sequence[PreferencePair]) -> list[tuple[tuple[str, ...], int]]:
    """What names each comparison: its rows, and which it is of those they make, as rankings do.

    An erasure takes all comparisons of a row from a dataset, so the others keep their names.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    keys = []
    for pair in pairs:
        rows = tuple(as_id(row_id) for row_id in pair.row_ids)
        keys.append((rows, seen[rows]))
        seen[rows] += 1
    return keys
