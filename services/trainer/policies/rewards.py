"""What judges the responses of a policy: any callable on texts, alone or in a weighted sum.

`reward@champion` or `reward@3` is a model version, `https://…` a reward service's `/score`, a path
an artifact folder; `length:20-120`, `require:PATTERN` and `forbid:PATTERN` are demands of the task.
Each may carry a weight: `length:20-120*0.5`. Policies only ever meet texts here, so any tokenizer
may be behind the policy, and the reward is the one that the reward service gives.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from services.trainer.policies.constraints import Judge, constraint
from shared.errors import InvalidInput, Unavailable
from shared.ml.scorer import Pair, Scorer

Floats = NDArray[np.float64]

_WEIGHTED = re.compile(r"(?P<source>.+?)(?:\*(?P<weight>-?\d+(?:\.\d+)?))?")
_CONSTRAINTS = ("length", "require", "forbid")
_AT_ONCE = 64
_TRIES, _FIRST_WAIT_S, _TIMEOUT_S = 5, 0.5, 60.0


@dataclass(frozen=True)
class Source:
    """One reward as it was asked for, and how much it counts."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Part:
    """One reward that is ready to judge."""

    source: Source
    judge: Judge
    sha256: str | None = None


class Rewards:
    """Rewards of responses: the weighted sum of the parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        """The reward of each response to its prompt, shape (n,).

        Raises:
            Unavailable: a reward service stays away, or gives no number.
        """
        return self.total(self.each(prompts, responses))

    def total(self, each: Mapping[str, Floats]) -> Floats:
        """The sum by weight of the rewards of every part, shape (n,)."""
        found = sum(part.source.weight * each[part.source.name] for part in self.parts)
        return np.asarray(found, dtype=np.float64)

    def each(self, prompts: Sequence[str], responses: Sequence[str]) -> dict[str, Floats]:
        """The rewards of every part by its name, unweighted, each of shape (n,)."""
        return {part.source.name: self._judged(part, prompts, responses) for part in self.parts}

    @staticmethod
    def _judged(part: Part, prompts: Sequence[str], responses: Sequence[str]) -> Floats:
        found = np.array(part.judge(prompts, responses), dtype=np.float64)
        if found.shape != (len(responses),) or not np.isfinite(found).all():
            raise Unavailable(
                f"{part.source.name} gave no number for some responses; a policy cannot learn "
                "from that. See that a model is live there.",
                retry_after_s=60,
            )
        return found


def read_source(text: str) -> Source:
    """A reward as it is asked for: its name and, after `*`, its weight.

    Raises:
        InvalidInput: nothing is asked for, or its weight is 0.
    """
    found = _WEIGHTED.fullmatch(text.strip())
    weight = float(found["weight"] or 1) if found else 0.0
    if found is None or not weight or not math.isfinite(weight):
        raise InvalidInput(
            f"The reward {text!r} is wrong; say reward@champion, or length:20-120*0.5."
        )
    return Source(found["source"], weight)


def part_of(source: Source, *, open_model: Callable[[str], tuple[Scorer, str]], key: str) -> Part:
    """A part that is ready to judge; `open_model` gives a model version or folder and its hash.

    Raises:
        HeedError: there is no such model, or a demand is wrong.
    """
    name, _, argument = source.name.partition(":")
    if name in _CONSTRAINTS:
        return Part(source, constraint(name, argument))
    if name in ("http", "https"):
        return Part(source, remote(source.name, key))
    scorer, sha256 = open_model(source.name)
    return Part(source, judged_by(scorer), sha256)


def judged_by(scorer: Scorer) -> Judge:
    """The raw rewards of a model in this process."""
    return lambda prompts, responses: [
        float(one) for one in scorer.score(_pairs(prompts, responses)).reward
    ]


def remote(url: str, key: str) -> Judge:
    """The raw rewards of a reward service, which is asked again while it is away or busy."""
    client = httpx.Client(
        base_url=url.removesuffix("/").removesuffix("/score"),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=_TIMEOUT_S,
    )

    def judge(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        pairs = _pairs(prompts, responses)
        found: list[float] = []
        for start in range(0, len(pairs), _AT_ONCE):
            found += _asked(client, pairs[start : start + _AT_ONCE])
        return found

    return judge


def _asked(client: httpx.Client, pairs: Sequence[Pair]) -> list[float]:
    inputs = [{"prompt": pair.prompt, "response": pair.response} for pair in pairs]
    body = {"inputs": inputs, "return": ["raw"]}
    for tried in range(_TRIES):
        try:
            reply = client.post("/score", json=body)
        except httpx.TransportError:
            reply = None
        if reply is not None and reply.status_code == httpx.codes.OK:
            return [_number(one) for one in reply.json()["results"]]
        if reply is not None and reply.status_code not in (429, 502, 503, 504):
            raise InvalidInput(
                f"{client.base_url} refuses to score ({reply.status_code}); check its address and "
                "HEED_REWARD_KEY, a key with the scope `score`."
            )
        time.sleep(_FIRST_WAIT_S * 2**tried)
    raise Unavailable(f"{client.base_url} is away; train again when it serves.", retry_after_s=60)


def _number(result: dict[str, Any]) -> float:
    return float("nan") if result.get("raw") is None else float(result["raw"])


def _pairs(prompts: Sequence[str], responses: Sequence[str]) -> list[Pair]:
    return [Pair(*both) for both in zip(prompts, responses, strict=True)]
