"""Rewards of pairs that come again and again, as comparisons of the same responses do."""

from dataclasses import dataclass, field

import numpy as np

from services.trainer.examples import PreferencePair
from services.trainer.reward_metrics import pair_margins, rewards_of, share_interval
from shared.ml.scorer import Pair, Scores


@dataclass
class CountingScorer:
    """Rewards length, and keeps what it was asked each time."""

    asked: list[list[Pair]] = field(default_factory=list)

    def score(self, pairs: list[Pair]) -> Scores:
        self.asked.append(list(pairs))
        rewards = np.array([float(len(pair.response)) for pair in pairs])
        return Scores(rewards, rewards, rewards > 9, rewards.astype(int))


def test_a_response_in_many_comparisons_is_scored_once():
    scorer = CountingScorer()
    pairs = [PreferencePair("p", "long", "x" * at, "g") for at in (1, 2, 3, 1)]

    margins = pair_margins(scorer, pairs)

    assert margins.tolist() == [3.0, 2.0, 1.0, 3.0]
    assert [len(asked) for asked in scorer.asked] == [4]


def test_many_pairs_are_scored_in_portions():
    scorer = CountingScorer()

    rewards = rewards_of(scorer, [Pair("p", "x" * at) for at in range(2500)])

    assert rewards.tolist() == list(range(2500))
    assert max(len(asked) for asked in scorer.asked) <= 1024


def test_nothing_has_no_margins():
    assert pair_margins(CountingScorer(), []).shape == (0,)


def test_a_share_of_few_is_no_certainty_even_when_all_are_right():
    found = share_interval(np.ones(5), list("abcde"))

    # Wilson's interval with Student's t at 4 degrees of freedom: 1 / (1 + 2.776² / 5)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert abs(found.low - 0.3934) < 1e-3
