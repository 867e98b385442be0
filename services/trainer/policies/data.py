"""What policies learn from: a frozen dataset as demonstrations, comparisons, thumbs and prompts.

Prompts that are held out are never trained on; every side keeps its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.trainer.examples import (
    PreferencePair,
    RatedResponse,
    RecordedPrompt,
    RewardDataset,
)
from shared.errors import NotEnoughData
from shared.ml.scorer import Pair

GOOD, BAD = 4.0, 2.0  # stars from which, and down to which, a response is taken as an example
FEW_PAIRS = 500


@dataclass(frozen=True)
class PolicySide:
    """One side of a dataset, every text once.

    Attributes:
        demonstrations: responses worth imitating: chosen, corrected, or rated four stars and more,
            and never rejected for another one.
        pairs: comparisons.
        liked, disliked: responses rated four stars and more, or two and less; thumbs are 5 and 1.
        prompts: everything people judged responses to, then what was asked and nobody judged.
    """

    demonstrations: Sequence[Pair]
    pairs: Sequence[PreferencePair]
    liked: Sequence[Pair]
    disliked: Sequence[Pair]
    prompts: Sequence[str]


@dataclass(frozen=True)
class PolicyData:
    """Both sides, and the hash of the dataset that they come from."""

    train: PolicySide
    held: PolicySide
    snapshot_hash: str


def policy_data(dataset: RewardDataset) -> PolicyData:
    """The dataset as policies learn from it.

    Raises:
        NotEnoughData: one side has no prompt.
    """
    train = _side(dataset.train_pairs, dataset.train_rated, dataset.train_prompts)
    held = _side(dataset.test_pairs, dataset.test_rated, dataset.test_prompts)
    if not train.prompts or not held.prompts:
        raise NotEnoughData(
            "A policy needs prompts to train on and held-out prompts to be judged by, and one of "
            "them is missing; collect feedback on more prompts, or record more interactions for a "
            "recipe that writes its own responses."
        )
    return PolicyData(train, held, dataset.snapshot_hash)


def prompts_of(
    pairs: Sequence[PreferencePair],
    rated: Sequence[RatedResponse],
    recorded: Sequence[RecordedPrompt],
) -> list[str]:
    """The prompts of one side, each once."""
    found = [one.prompt for one in pairs] + [one.prompt for one in rated]
    return list(dict.fromkeys([*found, *(one.prompt for one in recorded)]))


def _side(
    pairs: Sequence[PreferencePair],
    rated: Sequence[RatedResponse],
    recorded: Sequence[RecordedPrompt],
) -> PolicySide:
    wanted = [pair for pair in pairs if pair.source != "rating"]
    liked = [Pair(one.prompt, one.response) for one in rated if one.rating >= GOOD]
    disliked = [Pair(one.prompt, one.response) for one in rated if one.rating <= BAD]
    both = set(liked) & set(disliked)  # people disagree: an example of neither
    chosen = [pair.sides[0] for pair in wanted]
    rejected = {pair.sides[1] for pair in wanted}
    return PolicySide(
        demonstrations=_once([*chosen, *liked], without=both | rejected),
        pairs=list(pairs),
        liked=_once(liked, without=both),
        disliked=_once(disliked, without=both),
        prompts=prompts_of(pairs, rated, recorded),
    )


def _once(pairs: Iterable[Pair], *, without: set[Pair]) -> list[Pair]:
    return [pair for pair in dict.fromkeys(pairs) if pair not in without]
