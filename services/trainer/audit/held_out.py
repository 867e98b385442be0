"""The held-out rows as every part of the audit sees them, and a scorer that scores a text once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.trainer.baselines import length_differences
from services.trainer.examples import PreferencePair, RatedResponse
from services.trainer.groups import Groups
from services.trainer.heads import Floats, Indices
from services.trainer.reward_metrics import hits, rewards_of
from shared.ml.scorer import Pair, Scorer, Scores

SEED = 0  # of every sample and bootstrap of an audit


class Rewards:
    """Raw rewards of a model, each distinct pair scored once."""

    def __init__(self, scorer: Scorer) -> None:
        """Nothing is scored yet."""
        self._scorer = scorer
        self._known: dict[Pair, float] = {}

    def know(self, pairs: Sequence[Pair], rewards: Floats) -> None:
        """Keep rewards that were scored elsewhere."""
        self._known.update(zip(pairs, rewards.tolist(), strict=True))

    def of(self, pairs: Sequence[Pair]) -> Floats:
        """The reward of each pair, shape (n,)."""
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._known))
        if new:
            self.know(new, rewards_of(self._scorer, new))
        return np.array([self._known[pair] for pair in pairs], dtype=np.float64)


@dataclass(frozen=True)
class Compared:
    """n held-out comparisons with the rewards of both sides, shape (n,)."""

    pairs: Sequence[PreferencePair]
    chosen: Floats
    rejected: Floats

    @classmethod
    def of(cls, pairs: Sequence[PreferencePair], rewards: Rewards) -> "Compared":
        """The comparisons with the rewards of their sides."""
        both = rewards.of([side for pair in pairs for side in pair.sides])
        return cls(pairs, both[0::2], both[1::2])

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def margins(self) -> Floats:
        """Reward of the chosen minus that of the rejected response."""
        return self.chosen - self.rejected

    @property
    def hits(self) -> Floats:
        """1 where the model agrees with people, 0.5 at a tie, else 0."""
        return hits(self.margins)

    @cached_property
    def groups(self) -> Groups:
        """The prompt group of each comparison."""
        return [pair.group for pair in self.pairs]

    @cached_property
    def log_lengths(self) -> Floats:
        """ln(1 + characters) of the chosen minus that of the rejected response."""
        return length_differences(self.pairs)

    def take(self, rows: Indices) -> "Compared":
        """Some of the comparisons."""
        return Compared([self.pairs[at] for at in rows], self.chosen[rows], self.rejected[rows])


@dataclass(frozen=True)
class Rated:
    """n held-out rated responses with their scores."""

    rows: Sequence[RatedResponse]
    scores: Scores

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def groups(self) -> Groups:
        """The prompt group of each response."""
        return [row.group for row in self.rows]

    @cached_property
    def stars(self) -> Floats:
        """The ratings, 1-5."""
        return np.array([row.rating for row in self.rows], dtype=np.float64)


def drawn(count: int, most: int, *, seed: int) -> Indices:
    """At most `most` of `count` rows, drawn by seed, in their order."""
    rows = np.arange(count)
    if count <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size=most, replace=False))
