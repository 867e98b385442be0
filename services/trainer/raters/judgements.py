"""What people said, in the forms that rater statistics ask for.

Pairs that only derive from ratings or rankings are left out: the ratings and rankings themselves
are there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, combinations, pairwise
from typing import Literal

import numpy as np

from services.trainer.datasets import Evidence
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RewardDataset,
    TiedPair,
)
from services.trainer.raters.noisy_bradley_terry import Comparisons
from shared.agreement.alpha import Level
from shared.ml.scorer import Pair

Kind = Literal["stars", "unit", "thumbs", "comparisons"]

LEVELS: Mapping[Kind, Level] = {
    "stars": "ordinal",
    "unit": "interval",
    "thumbs": "nominal",
    "comparisons": "nominal",
}
TIE = 2.0

_NOBODY = -1


@dataclass(frozen=True)
class Opinion:
    """One person's judgement of something that others may have judged as well.

    Attributes:
        kind: of stars, 0-1 ratings and thumbs each apart, or a choice between two responses.
        unit: what was judged.
        value: stars; or 0, 1 or `TIE` for a choice: which of the two, in an arbitrary order.
        group: prompt group of the unit.
    """

    kind: Kind
    unit: tuple[str, ...]
    rater: str
    value: float
    group: bytes | str
    row_id: str
    at: str | None
    slices: Mapping[str, str]


def of_training(dataset: RewardDataset) -> Evidence:
    """What a model may learn from: the train side of a dataset."""
    return Evidence(
        pairs=list(dataset.train_pairs),
        rated=list(dataset.train_rated),
        ties=list(dataset.train_ties),
        rankings=list(dataset.train_rankings),
        steps=list(dataset.train_steps),
        aspects=list(dataset.train_aspects),
    )


def of_everything(dataset: RewardDataset) -> Evidence:
    """Both sides of a dataset together."""
    return Evidence(
        pairs=[*dataset.train_pairs, *dataset.test_pairs],
        rated=dataset.rated,
        ties=[*dataset.train_ties, *dataset.test_ties],
        rankings=[*dataset.train_rankings, *dataset.test_rankings],
        steps=[*dataset.train_steps, *dataset.test_steps],
        aspects=[*dataset.train_aspects, *dataset.test_aspects],
    )


def opinions(evidence: Evidence) -> list[Opinion]:
    """Every judgement whose rater is known, oldest first, so that later ones count."""
    found = [*_ratings(evidence.rated), *_choices(evidence)]
    return sorted(found, key=lambda one: one.at or "")


def collect_comparisons(
    evidence: Evidence, rewards: Mapping[Pair, float] | None = None, *, seed: int = 0
) -> tuple[Comparisons, list[str]]:
    """Everything that says "this one rather than that one", and the raters by number.

    Choices and corrections say so themselves, a ranking of each response and the next. A rater's
    ratings say so of every two that differ, of the same prompt or of two prompts, whatever the
    rater's standards are: each is compared with one other of that rater nearby, most likely of
    the same prompt, and with one anywhere.

    Args:
        evidence: what people said.
        rewards: out-of-fold rewards of a model, in log-odds; without, 0 for every item.
        seed: of which ratings are compared.
    """
    items: dict[Pair, int] = {}
    raters: dict[str, int] = {}
    rows = [
        (
            items.setdefault(winner, len(items)),
            items.setdefault(loser, len(items)),
            _NOBODY if rater is None else raters.setdefault(rater, len(raters)),
        )
        for winner, loser, rater in _compared(evidence, seed)
    ]
    winner, loser, rater = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    prior = np.array([(rewards or {}).get(item, 0.0) for item in items], dtype=np.float64)
    return Comparisons(winner, loser, rater, prior, len(raters)), list(raters)


def count_judgements(evidence: Evidence) -> tuple[dict[str, int], int]:
    """How many judgements each known rater gave, corrections among them, and nobody known."""
    counts: Counter[str | None] = Counter()
    own = [pair.rater for pair in evidence.pairs if pair.source in ("preference", "correction")]
    judged: chain[RatedResponse | TiedPair | RankedResponses] = chain(
        evidence.rated, evidence.ties, evidence.rankings
    )
    counts.update(own)
    counts.update(one.rater for one in judged)
    return {rater: count for rater, count in counts.items() if rater is not None}, counts[None]


def _compared(evidence: Evidence, seed: int) -> Iterator[tuple[Pair, Pair, str | None]]:
    for pair in evidence.pairs:
        if pair.source in ("preference", "correction"):
            yield (*pair.sides, pair.rater)
    for ranking in evidence.rankings:
        ranked = [Pair(ranking.prompt, response) for response in ranking.responses]
        for better, worse in pairwise(ranked):
            yield better, worse, ranking.rater
    yield from _compared_ratings(evidence.rated, np.random.default_rng(seed))


def _compared_ratings(
    rated: Iterable[RatedResponse], rng: np.random.Generator
) -> Iterator[tuple[Pair, Pair, str]]:
    by_rater: dict[tuple[str, str], list[RatedResponse]] = defaultdict(list)
    for one in rated:
        if one.rater is not None:
            by_rater[one.rater, one.scale].append(one)
    for (rater, _), theirs in by_rater.items():
        nearby = sorted(theirs, key=lambda one: (one.prompt, one.row_id))
        shuffled = [nearby[at] for at in rng.permutation(len(nearby))]
        for order in (nearby, shuffled):
            for one, other in zip(order[::2], order[1::2], strict=False):
                if one.rating != other.rating:
                    better, worse = (one, other) if one.rating > other.rating else (other, one)
                    yield _item(better), _item(worse), rater


def _item(rated: RatedResponse) -> Pair:
    return Pair(rated.prompt, rated.response)


def _ratings(rated: Iterable[RatedResponse]) -> Iterator[Opinion]:
    for one in rated:
        if one.rater is not None:
            yield Opinion(
                one.scale, (one.prompt, one.response), one.rater, one.rating,
                one.group, one.row_id, one.at, one.slices,
            )  # fmt: skip


def _choices(evidence: Evidence) -> Iterator[Opinion]:
    for pair in evidence.pairs:
        if pair.source == "preference":
            yield from _choice(pair, "".join(pair.row_ids[:1]), (pair.chosen, pair.rejected))
    for tie in evidence.ties:
        yield from _choice(tie, tie.row_id, tie.responses, is_tie=True)
    for ranking in evidence.rankings:
        for two in combinations(ranking.responses, 2):
            yield from _choice(ranking, ranking.row_id, two)


def _choice(
    said: PreferencePair | TiedPair | RankedResponses,
    row_id: str,
    responses: tuple[str, ...],
    *,
    is_tie: bool = False,
) -> Iterator[Opinion]:
    """A choice of the first of two responses, or a tie of them."""
    if said.rater is None:
        return
    ordered = sorted(responses, key=_shuffled)
    value = TIE if is_tie else float(ordered.index(responses[0]))
    yield Opinion(
        "comparisons", (said.prompt, *ordered), said.rater, value,
        said.group, row_id, said.at, said.slices,
    )  # fmt: skip


def _shuffled(text: str) -> bytes:
    """A sorting key that has nothing to do with how good a text is."""
    return blake2b(text.encode(), digest_size=16).digest()
