"""What every reward recipe learns from: comparisons and ratings, split by prompt group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from shared.errors import NotEnoughData
from shared.ml.scorer import Pair

EvidenceSource = Literal["preference", "rating", "correction"]

MINIMUM_RATED = 50

_NO_SLICES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PreferencePair:
    """One comparison: people preferred `chosen` to `rejected` as the response to `prompt`.

    Attributes:
        group: the normalised prompt's group; groups are never split between train and test.
        weight: how much the comparison counts, > 0.
        source: where the comparison comes from.
        row_ids: the feedback rows it was made of.
        slices: values to report separately, such as agent or task.
    """

    prompt: str
    chosen: str
    rejected: str
    group: bytes | str
    weight: float = 1.0
    source: EvidenceSource = "preference"
    row_ids: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=lambda: _NO_SLICES)

    @property
    def sides(self) -> tuple[Pair, Pair]:
        """The chosen and the rejected response, each with its prompt."""
        return Pair(self.prompt, self.chosen), Pair(self.prompt, self.rejected)


@dataclass(frozen=True)
class RatedResponse:
    """One rated response; `rating` is in stars, 1–5 (a 0–1 rating is 1 + 4 · rating)."""

    prompt: str
    response: str
    rating: float
    group: bytes | str
    row_id: str
    slices: Mapping[str, str] = field(default_factory=lambda: _NO_SLICES)


@dataclass(frozen=True)
class RewardDataset:
    """One frozen dataset: every prompt group lies wholly in train or wholly in test."""

    train_pairs: Sequence[PreferencePair]
    test_pairs: Sequence[PreferencePair]
    train_rated: Sequence[RatedResponse]
    test_rated: Sequence[RatedResponse]
    snapshot_hash: str

    @property
    def rated(self) -> list[RatedResponse]:
        """All rated responses, train and test together."""
        return [*self.train_rated, *self.test_rated]

    @property
    def judged(self) -> int:
        """Rated responses plus comparisons that come from no rating."""
        compared = [pair for pair in [*self.train_pairs, *self.test_pairs] if not _is_rated(pair)]
        return len(self.rated) + len(compared)


def require_judged(dataset: RewardDataset, minimum: int = MINIMUM_RATED) -> None:
    """Pass only a dataset with enough judgements to learn from.

    Raises:
        NotEnoughData: there are fewer than `minimum`, or none of them can be trained on.
    """
    if dataset.judged < minimum:
        raise NotEnoughData(
            f"Training needs at least {minimum} rated responses or comparisons and there are "
            f"{dataset.judged}; collect more feedback or lower --min-rated."
        )
    if not dataset.train_pairs and not dataset.train_rated:
        raise NotEnoughData("Every rated prompt is held out; collect feedback on other prompts.")


def _is_rated(pair: PreferencePair) -> bool:
    return pair.source == "rating"
