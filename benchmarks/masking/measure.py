"""Recall per kind of entity with its interval, false alarms on text without any, and speed."""

import math
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.masking.corpus import Case
from shared.privacy.masking import Entity, Masker, Span
from shared.privacy.masking.entities import disjoint

Z95 = 1.959964
RESAMPLES = 2000


@dataclass
class Tally:
    """Per kind: for each template, whether each entity was wholly covered and rightly named."""

    covered: dict[Entity, dict[int, list[bool]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    named: dict[Entity, list[bool]] = field(default_factory=lambda: defaultdict(list))
    precise: dict[Entity, list[bool]] = field(default_factory=lambda: defaultdict(list))
    missed: list[str] = field(default_factory=list)


def tally(masker: Masker, cases: Iterable[Case]) -> Tally:
    """Every entity of the cases against what the masker finds in them."""
    result = Tally()
    for case in cases:
        found = disjoint(masker.find(case.text))
        for entity in case.entities:
            touching = [span for span in found if _overlap(span, entity)]
            is_covered = _covers(touching, entity, case.text)
            result.covered[entity.kind][case.template].append(is_covered)
            result.named[entity.kind].append(entity.kind in {span.kind for span in touching})
            if not is_covered:
                missed = case.text[entity.start : entity.end]
                result.missed.append(f"{entity.kind} {missed!r} in {case.text!r}")
        for span in found:
            result.precise[span.kind].append(any(_overlap(span, e) for e in case.entities))
    return result


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _covers(spans: Sequence[Span], entity: Span, text: str) -> bool:
    """Whether every letter and digit of the entity is masked; commas and spaces may stay."""
    left = {place for place in range(entity.start, entity.end) if text[place].isalnum()}
    return not left - {place for span in spans for place in range(span.start, span.end)}


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share, for independent trials (Wilson 1927, eq. 11)."""
    if not trials:
        return 0.0, 1.0
    share, square = hits / trials, Z95**2
    middle = share + square / (2 * trials)
    half = Z95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return (middle - half) / (1 + square / trials), (middle + half) / (1 + square / trials)


def clustered(groups: Sequence[Sequence[bool]], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the share, by drawing whole templates with replacement."""
    rng = random.Random(seed)
    shares = []
    for _ in range(RESAMPLES):
        drawn = [hit for _ in groups for hit in rng.choice(groups)]
        shares.append(sum(drawn) / len(drawn))
    shares.sort()
    return shares[int(0.025 * RESAMPLES)], shares[int(0.975 * RESAMPLES) - 1]


def summarise(result: Tally) -> dict[str, dict[str, Any]]:
    """Per kind: entities, recall with the wider of both intervals, right names, precision."""
    summary = {}
    for kind in sorted(result.covered):
        groups = list(result.covered[kind].values())
        hits = [hit for group in groups for hit in group]
        low, high = wilson(sum(hits), len(hits))
        low_by_template, high_by_template = clustered(groups)
        precise = result.precise[kind]
        summary[kind.value] = {
            "entities": len(hits),
            "templates": len(groups),
            "recall": round(sum(hits) / len(hits), 4),
            "recall_low": round(min(low, low_by_template), 4),
            "recall_high": round(max(high, high_by_template), 4),
            "rightly_named": round(sum(result.named[kind]) / len(hits), 4),
            "precision": round(sum(precise) / len(precise), 4) if precise else None,
            "found": len(precise),
        }
    return summary


def false_alarms(masker: Masker, texts: Sequence[str]) -> dict[str, Any]:
    """What is masked in texts without any identifier, per 1,000 words, with its interval."""
    words = sum(len(text.split()) for text in texts)
    found = [(text, span) for text in texts for span in disjoint(masker.find(text))]
    low, high = wilson(len(found), words)
    return {
        "texts": len(texts),
        "words": words,
        "found": len(found),
        "per_1000_words": round(1000 * len(found) / words, 3),
        "low": round(1000 * low, 3),
        "high": round(1000 * high, 3),
        "what": [f"{span.kind}: {text[span.start : span.end]}" for text, span in found],
    }


def speed(masker: Masker, texts: Sequence[str], rounds: int = 5) -> dict[str, float]:
    """Median CPU time per 1,024 code points, microseconds."""
    size = sum(len(text) for text in texts) / 1024
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        for text in texts:
            masker.mask(text)
        taken.append((time.process_time() - started) / size * 1e6)
    return {"us_per_kb": round(sorted(taken)[rounds // 2], 1), "kb": round(size, 1)}
