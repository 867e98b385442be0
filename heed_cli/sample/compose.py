"""Composes responses whose quality lies in how they relate to the prompt.

A good response to one prompt is built from the same sentences as an off-topic response to
another; openers, bridges and remarks are drawn alike for every kind, and the length aimed at
does not depend on the kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from heed_cli.sample.content import Knowledge, Question

SHORTEST_WORDS, LONGEST_WORDS = 26, 44
OPENER_SHARE, NAMED_SHARE, BRIDGE_SHARE = 0.45, 0.15, 0.3
DETAIL_SHARE = 0.5
COMPANION_SHARE = 0.3
FAVOURITE_SHARE = 0.7


class Kind(StrEnum):
    """How a response relates to its prompt."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    DETAIL = "detail"
    MISTAKEN = "mistaken"
    SIBLING = "sibling"
    STRAY = "stray"
    EVASIVE = "evasive"


QUALITY = {
    Kind.COMPLETE: 2.0,
    Kind.PARTIAL: 1.1,
    Kind.DETAIL: 0.1,
    Kind.MISTAKEN: -0.9,
    Kind.SIBLING: -0.9,
    Kind.EVASIVE: -1.4,
    Kind.STRAY: -1.8,
}
QUALITY_SPREAD = 0.25


@dataclass(frozen=True)
class Candidate:
    """A response with its latent quality (about -2.5 to 2.5), which no file ever shows."""

    text: str
    kind: Kind
    quality: float


def compose(question: Question, kind: Kind, knowledge: Knowledge, rng: Random) -> Candidate:
    """A response of this kind, about 25 to 65 words; kinds differ in content, not in length."""
    subject = _subject(question, kind, knowledge, rng)
    statements = _statements(subject, kind, rng)
    padding = _padding(subject, kind, knowledge, rng)
    parts = _lengthened(statements, padding, rng.randint(SHORTEST_WORDS, LONGEST_WORDS))
    if len(parts) > 1 and rng.random() < BRIDGE_SHARE:
        parts.insert(1, rng.choice(knowledge.phrases["bridges"]))
    if rng.random() < OPENER_SHARE:
        parts.insert(0, _opener(question, knowledge, rng))
    return Candidate(" ".join(parts), kind, QUALITY[kind] + rng.gauss(0, QUALITY_SPREAD))


def _subject(question: Question, kind: Kind, knowledge: Knowledge, rng: Random) -> Question:
    """The question that the response really speaks to."""
    if kind is Kind.SIBLING:
        return rng.choice(knowledge.siblings(question))
    if kind is Kind.STRAY:
        favourite = rng.random() < FAVOURITE_SHARE
        return rng.choice(knowledge.strangers(question, favourite=favourite))
    return question


def _statements(subject: Question, kind: Kind, rng: Random) -> list[str]:
    """What the response says about its subject."""
    detail = [subject.detail] * (rng.random() < DETAIL_SHARE)
    match kind:
        case Kind.COMPLETE:
            return [subject.key, subject.detail]
        case Kind.PARTIAL:
            return [subject.key]
        case Kind.DETAIL:
            return [subject.detail]
        case Kind.MISTAKEN:
            return [subject.mistake, *detail]
        case Kind.SIBLING | Kind.STRAY:
            return [subject.key, *detail]
        case Kind.EVASIVE:
            return []


def _padding(subject: Question, kind: Kind, knowledge: Knowledge, rng: Random) -> Iterator[str]:
    """True statements from around the subject, then remarks that fit any question."""
    if kind is not Kind.EVASIVE and rng.random() < COMPANION_SHARE:
        companion = rng.choice(knowledge.siblings(subject))
        yield rng.choice([companion.key, companion.detail])
    yield from rng.sample(knowledge.phrases[subject.domain], 5)


def _opener(question: Question, knowledge: Knowledge, rng: Random) -> str:
    """A first phrase, which at times names the topic the prompt asks about."""
    if rng.random() < NAMED_SHARE:
        return f"On {question.topic}:"
    return rng.choice(knowledge.phrases["openers"])


def _lengthened(statements: list[str], padding: Iterator[str], words_wanted: int) -> list[str]:
    """The statements, padded until about the wanted number of words is reached."""
    parts = list(statements)
    for sentence in padding:
        if sum(len(part.split()) for part in parts) >= words_wanted - 5:
            break
        parts.append(sentence)
    return parts
