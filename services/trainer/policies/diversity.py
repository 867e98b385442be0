"""How much a policy repeats itself: within a response, and from prompt to prompt.

Counted on tokens, since words are nothing to count on in languages without spaces.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.heads import Floats
from services.trainer.policies.paired import change_with, jackknife_error
from shared.contracts.policy_report import Change, Mean

Tokens = Sequence[int]
_REPEATED = 3


def repetition(tokens: Tokens) -> float:
    """Share of a response's 3-grams that came before in it, 0-1; 0 of fewer than two.

    Source: Welleck et al. 2020, arXiv:1908.04319 (seq-rep-n).
    """
    grams = _grams(tokens, _REPEATED)
    return 1 - len(set(grams)) / len(grams) if len(grams) > 1 else 0.0


@dataclass(frozen=True)
class Distinct:
    """Distinct n-grams over all n-grams of n responses, and the same without each of them."""

    value: float
    without_each: Floats

    def as_mean(self) -> Mean:
        """The share with the standard error of leaving out each response in turn."""
        return Mean(value=self.value, error=jackknife_error(self.without_each))


def distinct(responses: Sequence[Tokens], n: int) -> Distinct:
    """Different n-grams as a share of all n-grams of the responses together, 0-1.

    Source: Li et al. 2016, arXiv:1510.03055 (distinct-n).
    """
    grams = [_grams(one, n) for one in responses]
    holders = Counter(gram for one in grams for gram in set(one))
    own = np.array([sum(holders[gram] == 1 for gram in set(one)) for one in grams], dtype=float)
    sizes = np.array([len(one) for one in grams], dtype=float)
    kinds, total = len(holders), sizes.sum()
    return Distinct(kinds / total if total else 0.0, (kinds - own) / np.maximum(1.0, total - sizes))


def distinct_of_both(
    before: Sequence[Tokens], after: Sequence[Tokens], n: int
) -> tuple[Distinct, Distinct, Change]:
    """Both policies over equally many tokens of each prompt, and the change.

    Longer texts have a smaller share of distinct n-grams whoever wrote them, so the longer one of
    the two responses to a prompt is cut to the length of the other.
    """
    pairs = [
        (one[: len(other)], other[: len(one)]) for one, other in zip(before, after, strict=True)
    ]
    first, second = (distinct([pair[side] for pair in pairs], n) for side in (0, 1))
    error = jackknife_error(second.without_each - first.without_each)
    return first, second, change_with(second.value - first.value, error, len(pairs))


def _grams(tokens: Tokens, n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
