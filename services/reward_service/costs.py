"""What scoring will cost, guessed before tokenising, which is work for the scoring threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from shared.contracts.manifest import RewardManifest
from shared.ml.scorer import Pair, Scorer

_FIRST_GUESS_TOKENS_PER_S = 4000.0
_REMEMBERED_S = 3.0  # texts that are remembered cost nothing, those that follow may cost all


def estimated_tokens(pairs: Sequence[Pair], manifest: RewardManifest) -> list[int]:
    """About how many tokens a model reads of each pair, at least 1.

    A model that reads prompts by themselves reads each of them once.
    """
    limit = manifest.truncation
    if manifest.template != "separate":
        both = (_tokens(pair.prompt) + _tokens(pair.response) for pair in pairs)
        return [min(limit.response_tokens, tokens) for tokens in both]
    costs, read = [], set()
    for pair in pairs:
        cost = min(limit.response_tokens, _tokens(pair.response))
        if pair.prompt not in read:
            read.add(pair.prompt)
            cost += min(limit.prompt_tokens, _tokens(pair.prompt))
        costs.append(cost)
    return costs


def _tokens(text: str) -> int:
    """One token for four letters of Latin script, or for one character of three bytes."""
    return 2 + (3 * len(text.encode()) - len(text)) // 8


@dataclass
class _Lately:
    """What one worker did with one model lately, the further back the less it counts."""

    tokens: float = _FIRST_GUESS_TOKENS_PER_S
    seconds: float = 1.0


class Speeds:
    """How many tokens a second one worker reads with each model, of texts it does not remember.

    Whether a text is remembered is known only once it is tokenised, so what waits is taken to be
    new: favourite texts that are followed by others would make a guess by the mean far too short.
    """

    def __init__(self) -> None:
        self._by_model: WeakKeyDictionary[Scorer, _Lately] = WeakKeyDictionary()

    def of(self, scorer: Scorer) -> float:
        """Tokens per second, > 0; a guess until the model has scored."""
        lately = self._by_model.get(scorer, _Lately())
        return lately.tokens / lately.seconds

    def observe(self, scorer: Scorer, tokens: int, seconds: float) -> None:
        """Learn from one batch."""
        lately = self._by_model.setdefault(scorer, _Lately())
        lately.tokens += tokens
        lately.seconds += seconds
        if lately.seconds > _REMEMBERED_S:
            lately.tokens /= 2
            lately.seconds /= 2
