"""What every reward recipe learns from: judgements of responses, split by prompt group.

Everything a person said is here once as it was said (`rated`, `aspects`, `ties`, `rankings`,
`steps`, and the pairs that come from a choice or a correction); pairs from ratings and rankings are
derived, so that methods that know comparisons only, and the accuracy on held-out pairs, can use
them too. Beside the judgements stand recorded prompts that nobody judged, for policies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from shared.errors import NotEnoughData
from shared.ml.scorer import Pair

EvidenceSource = Literal["preference", "rating", "correction", "ranking"]
Scale = Literal["stars", "unit", "thumbs"]

MINIMUM_RATED = 50

_NO_SLICES: Mapping[str, str] = MappingProxyType({})
_NO_ASPECTS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is known of everything that people said.

    Attributes:
        slices: values to report separately, such as agent or task.
        rater: pseudonym of who said so; None when unknown, or when several people's ratings
            were compared.
        at: when it was said, ISO 8601 in UTC; of several rows, the latest.
    """

    slices: Mapping[str, str] = field(default_factory=lambda: _NO_SLICES)
    rater: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class PreferencePair(Provenance):
    """One comparison: people preferred `chosen` to `rejected` as the response to `prompt`.

    Attributes:
        group: the normalised prompt's group; groups are never split between train and test.
        weight: how much the comparison counts, > 0.
        source: where the comparison comes from.
        row_ids: the feedback rows it was made of.
        strength: how clear the preference is, 0-3; None when not asked.
        presented_first: the side that was shown first, `chosen` or `rejected`, where known.
    """

    prompt: str
    chosen: str
    rejected: str
    group: bytes | str
    weight: float = 1.0
    source: EvidenceSource = "preference"
    row_ids: tuple[str, ...] = ()
    strength: float | None = None
    presented_first: Literal["chosen", "rejected"] | None = None

    @property
    def sides(self) -> tuple[Pair, Pair]:
        """The chosen and the rejected response, each with its prompt."""
        return Pair(self.prompt, self.chosen), Pair(self.prompt, self.rejected)


@dataclass(frozen=True)
class RatedResponse(Provenance):
    """One rated response; `rating` is in stars, 1–5 (a 0–1 rating is 1 + 4 · rating).

    Attributes:
        scale: what the rater was asked for: stars, a number from 0 to 1, or a thumb.
        aspects: further ratings by name, such as `accuracy`; 0-1, 1-5 or 0-5 as posted.
    """

    prompt: str
    response: str
    rating: float
    group: bytes | str
    row_id: str
    scale: Scale = "stars"
    aspects: Mapping[str, float] = field(default_factory=lambda: _NO_ASPECTS)


@dataclass(frozen=True)
class RatedAspects(Provenance):
    """A response that a person rated by aspect alone, and so not as a whole.

    Attributes:
        aspects: ratings by name, at least one; 0-1, 1-5 or 0-5 as posted.
    """

    prompt: str
    response: str
    aspects: Mapping[str, float]
    group: bytes | str
    row_id: str


@dataclass(frozen=True)
class TiedPair(Provenance):
    """Two responses of which a person preferred neither; `outcome` is `tie` or `both_bad`."""

    prompt: str
    responses: tuple[str, str]
    outcome: str
    group: bytes | str
    row_id: str


@dataclass(frozen=True)
class RankedResponses(Provenance):
    """Two or more responses to one prompt in a person's order, the best first."""

    prompt: str
    responses: tuple[str, ...]
    group: bytes | str
    row_id: str


@dataclass(frozen=True)
class RatedStep(Provenance):
    """One rated step of the reasoning behind a response; `rating` and `scale` as of responses.

    Attributes:
        steps: the texts of the reasoning so far; the last one is the step that was rated.
    """

    prompt: str
    steps: tuple[str, ...]
    rating: float
    group: bytes | str
    row_id: str
    scale: Scale = "stars"


@dataclass(frozen=True)
class RecordedPrompt(Provenance):
    """A prompt that an application recorded, and to which nobody judged a response.

    Attributes:
        row_id: the recorded interaction.
    """

    prompt: str
    group: bytes | str
    row_id: str


Said = PreferencePair | RatedResponse | TiedPair | RankedResponses
Judgement = Said | RatedAspects | RatedStep
Entry = Judgement | RecordedPrompt


@dataclass(frozen=True)
class RewardDataset:
    """One frozen dataset: every prompt group lies wholly in train or wholly in test."""

    train_pairs: Sequence[PreferencePair]
    test_pairs: Sequence[PreferencePair]
    train_rated: Sequence[RatedResponse]
    test_rated: Sequence[RatedResponse]
    snapshot_hash: str
    train_ties: Sequence[TiedPair] = ()
    test_ties: Sequence[TiedPair] = ()
    train_rankings: Sequence[RankedResponses] = ()
    test_rankings: Sequence[RankedResponses] = ()
    train_steps: Sequence[RatedStep] = ()
    test_steps: Sequence[RatedStep] = ()
    train_aspects: Sequence[RatedAspects] = ()
    test_aspects: Sequence[RatedAspects] = ()
    train_prompts: Sequence[RecordedPrompt] = ()
    test_prompts: Sequence[RecordedPrompt] = ()

    @property
    def rated(self) -> list[RatedResponse]:
        """All rated responses, train and test together."""
        return [*self.train_rated, *self.test_rated]

    @property
    def judged(self) -> int:
        """Rated responses plus comparisons that come from no rating."""
        compared = [pair for pair in [*self.train_pairs, *self.test_pairs] if not _is_rated(pair)]
        return len(self.rated) + len(compared)


def slices_in_common(slices: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The slices that all of them lie in.

    What is made of several posts is reported under these: under those of its better side alone,
    the slice of an agent would hold only what that agent won.
    """
    first, *others = slices
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


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
