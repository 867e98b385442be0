"""What people said, as the judgements that one likelihood is made of, and their token ids.

Pairs that were derived from ratings or rankings are left out: the ratings and rankings themselves
are here, and nothing counts twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain

import numpy as np

from services.trainer.evidence import SourceWeights
from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedResponse,
    RewardDataset,
    Scale,
    TiedPair,
)
from services.trainer.groups import numbered
from services.trainer.heads import grouped_folds
from services.trainer.likelihood.terms import level_of
from shared.errors import NotEnoughData
from shared.ml.scorer import Pair
from shared.ml.windows import WindowTokenizer

FEWEST_TO_PART = 400  # held-back prompt groups; half of fewer chose and calibrated worse than all

_DERIVED = frozenset({"rating", "ranking"})


class Kind(IntEnum):
    """Which term of the likelihood a judgement is."""

    WIN = 0
    TIE = 1
    RATING = 2
    RANKING = 3


@dataclass(frozen=True)
class Judgement:
    """One thing that one person said of one or more responses to a prompt.

    Attributes:
        items: what it is about, the best first.
        weight: how much it counts, > 0.
        can_tie: whether "neither is better" could have been said instead.
        scale, level: of a rating; level 0 is the worst.
    """

    kind: Kind
    items: tuple[Pair, ...]
    group: bytes | str
    weight: float = 1.0
    rater: str | None = None
    can_tie: bool = False
    scale: Scale = "stars"
    level: int = 0


@dataclass(frozen=True)
class HeldBack:
    """Judgements on prompts whose judgements changed no weight.

    Attributes:
        choosing: pick the step that is kept.
        calibrating: say what rewards mean; of other prompts than `choosing`, or the same ones.
    """

    choosing: list[Judgement]
    calibrating: list[Judgement]

    @property
    def is_parted(self) -> bool:
        """Whether nothing was chosen by what calibrates."""
        return self.choosing is not self.calibrating

    @property
    def groups(self) -> dict[Pair, bytes | str]:
        """Every item with its prompt group."""
        said = chain(self.choosing, self.calibrating)
        return {item: one.group for one in said for item in one.items}


@dataclass(frozen=True)
class TokenJudgement:
    """A judgement and the ids that the model reads of each of its items."""

    said: Judgement
    windows: tuple[tuple[int, ...], ...]

    @property
    def longest(self) -> int:
        """Tokens of its longest window: what its batch is padded to, at least."""
        return max(map(len, self.windows))


@dataclass(frozen=True)
class TokenJudgements:
    """Judgements ready for the model, and what tokenising cost.

    Attributes:
        truncated: judgements of which some text was cut off.
        dropped: comparisons whose sides look the same in the window.
    """

    rows: list[TokenJudgement]
    truncated: int
    dropped: int


def collect_judgements(
    dataset: RewardDataset,
    weights: SourceWeights | None = None,
    rater_weights: Mapping[str, float] | None = None,
) -> list[Judgement]:
    """Everything said on the train side, weighted by its source and by who said it.

    Args:
        dataset: of which only the train side is read.
        weights: of the sources.
        rater_weights: of the raters, in (0, 1]; 1 for who is not named.
    """
    counts, trust = weights or SourceWeights(), rater_weights or {}
    can_tie = bool(dataset.train_ties) and counts.tie > 0
    found = [
        *(_pair(pair, counts, can_tie) for pair in dataset.train_pairs
          if pair.source not in _DERIVED),
        *(_rating(rated, counts.rating) for rated in dataset.train_rated),
        *(_tie(tie, counts.tie) for tie in dataset.train_ties),
        *(_ranking(ranked, counts.ranking) for ranked in dataset.train_rankings),
    ]  # fmt: skip
    return list(_trusted(found, trust))


def validation_split(
    judgements: Sequence[Judgement], *, seed: int
) -> tuple[list[Judgement], list[Judgement]]:
    """Judgements to learn from, and those on about a fifth of the prompt groups.

    Raises:
        NotEnoughData: there are none, or all are on one prompt.
    """
    if not judgements:
        raise NotEnoughData(
            "There is nothing to learn from: every kind of feedback in the dataset is switched "
            "off, or none was given."
        )
    groups = numbered([one.group for one in judgements])
    kept, held = next(grouped_folds(groups, seed=seed))
    return [judgements[at] for at in kept], [judgements[at] for at in held]


def part_held(held: list[Judgement], *, seed: int) -> HeldBack:
    """Half of the held-back prompt groups for choosing and half for calibrating.

    With fewer than `FEWEST_TO_PART` all of them do both.
    """
    groups = numbered([one.group for one in held])
    count = len(set(groups.tolist()))
    if count < FEWEST_TO_PART:
        return HeldBack(held, held)
    drawn = np.random.default_rng(seed).permutation(count)[: count // 2]
    chooses = np.isin(groups, drawn)
    return HeldBack(
        [one for one, is_chosen in zip(held, chooses, strict=True) if is_chosen],
        [one for one, is_chosen in zip(held, chooses, strict=True) if not is_chosen],
    )


def tokenise(tokenizer: WindowTokenizer, judgements: Sequence[Judgement]) -> TokenJudgements:
    """The ids of each judgement whose items still differ inside the window.

    Raises:
        NotEnoughData: none do.
    """
    windows = iter(tokenizer.windows([item for one in judgements for item in one.items]))
    rows, truncated = [], 0
    numbers: dict[int, int] = {}  # one object for each id, however often it comes
    for one in judgements:
        read = [next(windows) for _ in one.items]
        ids = tuple(tuple(numbers.setdefault(at, at) for at in window.ids) for window in read)
        if len(ids) == 1 or len(set(ids)) > 1:
            rows.append(TokenJudgement(one, ids))
            truncated += any(window.truncated for window in read)
    if not rows:
        raise NotEnoughData("No comparison differs inside the model's window; raise --max-tokens.")
    return TokenJudgements(rows, truncated, len(judgements) - len(rows))


def _pair(pair: PreferencePair, counts: SourceWeights, can_tie: bool) -> Judgement:
    is_correction = pair.source == "correction"
    share = counts.correction if is_correction else counts.preference
    return Judgement(
        Kind.WIN,
        pair.sides,
        pair.group,
        weight=pair.weight * share,
        rater=pair.rater,
        can_tie=can_tie and not is_correction,
    )


def _rating(rated: RatedResponse, share: float) -> Judgement:
    return Judgement(
        Kind.RATING,
        (Pair(rated.prompt, rated.response),),
        rated.group,
        weight=share,
        rater=rated.rater,
        scale=rated.scale,
        level=level_of(rated.rating, rated.scale),
    )


def _tie(tie: TiedPair, share: float) -> Judgement:
    items = tuple(Pair(tie.prompt, response) for response in tie.responses)
    return Judgement(Kind.TIE, items, tie.group, weight=share, rater=tie.rater)


def _ranking(ranked: RankedResponses, share: float) -> Judgement:
    items = tuple(Pair(ranked.prompt, response) for response in ranked.responses)
    return Judgement(Kind.RANKING, items, ranked.group, weight=share, rater=ranked.rater)


def _trusted(found: Sequence[Judgement], trust: Mapping[str, float]) -> Iterator[Judgement]:
    for one in found:
        factor = trust.get(one.rater, 1.0) if one.rater is not None else 1.0
        if one.weight * factor > 0:
            yield replace(one, weight=one.weight * factor)
