"""Which prompt groups of a snapshot belong together, because they are near-duplicates.

Two groups are in one cluster when their prompts are near-duplicates, or when a whole comparison of
one, prompt and both responses, is a near-copy of a comparison of the other.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from services.trainer.datasets import Evidence, as_bytes
from services.trainer.examples import (
    Judgement,
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    RatedStep,
    RecordedPrompt,
    TiedPair,
)
from services.trainer.near_duplicates import (
    Indices,
    connected,
    near_across,
    near_clusters,
    near_pairs,
    words_of,
)
from services.trainer.splits import normalise_prompt
from shared.contracts.values import Side

One = TypeVar(
    "One",
    PreferencePair,
    RatedResponse,
    RatedAspects,
    TiedPair,
    RankedResponses,
    RatedStep,
    RecordedPrompt,
)

# Short responses are alike by chance, and of very many comparisons of one prompt some will do.
FEWEST_WORDS = 12
MOST_OF_A_PROMPT = 4


def judgements(evidence: Evidence) -> Iterator[Judgement]:
    """Everything in the evidence that somebody judged."""
    yield from evidence.pairs
    yield from evidence.rated
    yield from evidence.ties
    yield from evidence.rankings
    yield from evidence.steps
    yield from evidence.aspects


def cluster_groups(evidence: Evidence) -> dict[bytes, int]:
    """The number of each judged prompt group's cluster."""
    prompts = {as_bytes(one.group): one.prompt for one in judgements(evidence)}
    place = {group: at for at, group in enumerate(prompts)}
    near = near_pairs([normalise_prompt(prompt) for prompt in prompts.values()])
    copies = [
        (place[as_bytes(one.group)], place[as_bytes(other.group)])
        for one, other in near_copies(evidence.pairs)
    ]
    pairs = np.concatenate([near, np.array(copies, dtype=np.int64).reshape(-1, 2)])
    return dict(zip(prompts, connected(len(prompts), pairs).tolist(), strict=True))


def asked_together(
    recorded: Sequence[str], judged: Sequence[str]
) -> list[tuple[list[int], set[int]]]:
    """Clusters of recorded prompts, each with the judged prompts it is near, as places in both.

    Judged prompts are clustered without them: what people merely asked neither joins two judged
    prompts nor decides which words say nothing.
    """
    texts = [normalise_prompt(prompt) for prompt in recorded]
    members: dict[int, list[int]] = defaultdict(list)
    near: dict[int, set[int]] = defaultdict(set)
    labels = near_clusters(texts).tolist()
    for place, label in enumerate(labels):
        members[label].append(place)
    for one, other in near_across(texts, [normalise_prompt(prompt) for prompt in judged]).tolist():
        near[labels[one]].add(other)
    return [(places, near[label]) for label, places in members.items()]


def near_copies(pairs: Sequence[PreferencePair]) -> list[tuple[PreferencePair, PreferencePair]]:
    """Comparisons under different prompts that are near-copies as a whole, whoever was preferred.

    Which comparisons are looked at depends on their texts alone, so that whoever checks a dataset
    looks at those that were looked at when it was frozen.
    """
    found = _whole_rows(pairs)
    rows = [row for _, row in found]
    near: Indices = near_pairs([row_text(row) for row in rows])
    return [
        (rows[one], rows[other]) for one, other in near.tolist() if found[one][0] != found[other][0]
    ]


def row_text(pair: PreferencePair) -> str:
    """A comparison as one text, the same whoever was preferred."""
    return normalise_prompt("\n".join([pair.prompt, *_responses(pair)]))


def first_moments(evidence: Evidence) -> dict[bytes, str | None]:
    """When each prompt group was first spoken of; None when a judgement does not say when."""
    found: dict[bytes, str | None] = {}
    for one in judgements(evidence):
        group = as_bytes(one.group)
        before = found.get(group, one.at)
        found[group] = min(before, one.at) if before and one.at else None
    return found


def renamed(evidence: Evidence, names: Mapping[bytes, bytes]) -> Evidence:
    """The evidence with each prompt group under another name, such as its cluster's."""
    return Evidence(
        pairs=_renamed(evidence.pairs, names),
        rated=_renamed(evidence.rated, names),
        ties=_renamed(evidence.ties, names),
        rankings=_renamed(evidence.rankings, names),
        steps=_renamed(evidence.steps, names),
        aspects=_renamed(evidence.aspects, names),
        prompts=_renamed(evidence.prompts, names),
        seqs=evidence.seqs,
    )


def cluster_names(
    clusters: Mapping[bytes, int], placed: Mapping[bytes, Side | str]
) -> dict[bytes, bytes]:
    """One group's hash for all groups of a cluster that were placed alike."""
    alike: dict[tuple[int, str], list[bytes]] = defaultdict(list)
    for group, side in placed.items():
        alike[clusters[group], side].append(group)
    return {group: min(members) for members in alike.values() for group in members}


def _whole_rows(pairs: Sequence[PreferencePair]) -> list[tuple[str, PreferencePair]]:
    """A few long comparisons of each prompt, each once, with the normalised prompt."""
    of_prompt: dict[str, dict[tuple[str, ...], PreferencePair]] = defaultdict(dict)
    for pair in pairs:
        of_prompt[normalise_prompt(pair.prompt)].setdefault(_responses(pair), pair)
    return [
        (prompt, those[responses])
        for prompt, those in of_prompt.items()
        for responses in islice(filter(_are_long, sorted(those)), MOST_OF_A_PROMPT)
    ]


def _responses(pair: PreferencePair) -> tuple[str, ...]:
    return tuple(sorted((pair.chosen, pair.rejected)))


def _are_long(responses: Iterable[str]) -> bool:
    return all(len(words_of(text)) >= FEWEST_WORDS for text in responses)


def _renamed(found: Sequence[One], names: Mapping[bytes, bytes]) -> list[One]:
    return [
        one
        if names[as_bytes(one.group)] == as_bytes(one.group)
        else replace(one, group=names[as_bytes(one.group)])
        for one in found
    ]
