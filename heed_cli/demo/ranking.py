"""How well a model orders responses that people have judged, on prompts it never learned from."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

_RESAMPLES = 2000
_SEED = 0


@dataclass(frozen=True)
class Candidates:
    """The responses to one held-out prompt in the order a client would send them.

    `values` holds what people thought of each, higher is better; only their order means anything.
    """

    prompt: str
    responses: list[str]
    values: list[float]

    def rank_of_best(self, order: Sequence[int]) -> float:
        """Place of the response people liked best, 1 is first; of several, their mean place."""
        best = max(self.values)
        places = [at for at, index in enumerate(order, start=1) if self.values[index] == best]
        return fmean(places)


# A prompt and responses of which nobody need know which is better.
Probe = tuple[str, list[str]]
_PROBE_RESPONSES = 10


@dataclass(frozen=True)
class RankGain:
    """Mean places of the response people liked best, and how much higher the model puts it.

    `gain` > 0: nearer to the top than in the input order; `low` and `high` are its 95 % interval.
    """

    prompts: int
    input_rank: float
    model_rank: float
    gain: float
    low: float
    high: float


def held_out_candidates(lines: Iterable[Mapping[str, Any]]) -> list[Candidates]:
    """The judged responses of every held-out prompt with at least two of different value.

    Args:
        lines: of a frozen dataset; each holds its kind, split, prompt group and texts.
    """
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["split"] == "test" and line["kind"] in ("rated", "pair"):
            groups[line["group"]].append(line)
    found = []
    for group, members in sorted(groups.items()):
        values = _mean_ratings(members)
        if len(set(values.values())) < 2:
            values = _shares_of_wins(members)
        if len(set(values.values())) >= 2:
            responses = random.Random(f"{_SEED}:{group}").sample(sorted(values), len(values))
            liked = [values[response] for response in responses]
            found.append(Candidates(members[0]["prompt"], responses, liked))
    return found


def probes(lines: Iterable[Mapping[str, Any]]) -> list[Probe]:
    """Every held-out prompt with ten responses: to it, and as many to other prompts as it takes."""
    texts: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line["split"] == "test":
            said = (line.get(name) for name in ("response", "chosen", "rejected"))
            texts[line["prompt"]].extend(text for text in said if text)
    everything = list(dict.fromkeys(text for some in texts.values() for text in some))
    found = []
    for number, (prompt, own) in enumerate(sorted(texts.items())):
        at = number * _PROBE_RESPONSES
        others = [everything[(at + step) % len(everything)] for step in range(_PROBE_RESPONSES)]
        found.append((prompt, [*dict.fromkeys(own), *others][:_PROBE_RESPONSES]))
    return found


def _mean_ratings(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    ratings = defaultdict(list)
    for line in lines:
        if line["kind"] == "rated":
            ratings[line["response"]].append(float(line["rating"]))
    return {response: fmean(given) for response, given in ratings.items()}


def _shares_of_wins(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    wins = defaultdict(list)
    for line in lines:
        if line["kind"] == "pair":
            wins[line["chosen"]].append(1.0)
            wins[line["rejected"]].append(0.0)
    return {response: fmean(won) for response, won in wins.items()}


def rank_gain(candidates: Sequence[Candidates], orders: Sequence[Sequence[int]]) -> RankGain:
    """How much higher the orders put what people liked best than the input does.

    Args:
        candidates: one entry per held-out prompt, at least one.
        orders: for each prompt, the indices of its responses from best to worst by the model.
    """
    before = [one.rank_of_best(range(len(one.responses))) for one in candidates]
    after = [one.rank_of_best(order) for one, order in zip(candidates, orders, strict=True)]
    gains = [was - now for was, now in zip(before, after, strict=True)]
    low, high = bootstrap_interval(gains)
    return RankGain(len(gains), fmean(before), fmean(after), fmean(gains), low, high)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    draw = random.Random(_SEED)
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return means[round(0.025 * _RESAMPLES)], means[round(0.975 * _RESAMPLES) - 1]
