"""Puts the sample together: who rated which response, when, and in which of two batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from random import Random
from typing import Any

from heed_cli.sample.compose import Candidate, Kind, compose
from heed_cli.sample.content import Knowledge, Question, load_knowledge
from heed_cli.sample.raters import Rater, choose, raters_of, stars

Row = dict[str, Any]

SEED = 20250117
LATER_ONLY_PROMPTS = 38
REVISITED_PROMPTS = 100
RESPONSES_PER_PROMPT = 4
SECOND_RATER_SHARE = 0.25
COMMENT_SHARE = 0.05
COMPARISONS = {1: 430, 2: 180}
START = {1: datetime(2025, 1, 20, 8, tzinfo=UTC), 2: datetime(2025, 4, 7, 8, tzinfo=UTC)}

GOOD_KINDS = {Kind.COMPLETE: 0.65, Kind.PARTIAL: 0.35}
OTHER_KINDS = {
    Kind.PARTIAL: 0.08,
    Kind.DETAIL: 0.12,
    Kind.MISTAKEN: 0.1,
    Kind.SIBLING: 0.17,
    Kind.STRAY: 0.38,
    Kind.EVASIVE: 0.15,
}


@dataclass(frozen=True)
class Sample:
    """Rows to train on first and rows that come later, each in the order of posting."""

    first: list[Row]
    later: list[Row]


@dataclass(frozen=True)
class _Asked:
    """A question with the responses to it and the raters who judge them."""

    question: Question
    candidates: list[Candidate]
    raters: list[Rater]


def build_sample(seed: int = SEED) -> Sample:
    """The sample of this seed; the same seed gives the same rows."""
    rng = Random(seed)
    knowledge = load_knowledge()
    asked = [
        _ask(question, knowledge, rng)
        for question in rng.sample(knowledge.questions, len(knowledge.questions))
    ]
    fresh, early = asked[:LATER_ONLY_PROMPTS], asked[LATER_ONLY_PROMPTS:]
    revisited = [_revisit(one, knowledge, rng) for one in rng.sample(early, REVISITED_PROMPTS)]
    return Sample(
        first=_batch(1, early, knowledge, rng), later=_batch(2, fresh + revisited, knowledge, rng)
    )


def _ask(question: Question, knowledge: Knowledge, rng: Random) -> _Asked:
    """A good response and three of other kinds in random order, for two raters."""
    (good,) = _draw(GOOD_KINDS, 1, rng)
    others = {kind: weight for kind, weight in OTHER_KINDS.items() if kind is not good}
    kinds = [good, *_draw(others, RESPONSES_PER_PROMPT - 1, rng)]
    rng.shuffle(kinds)
    candidates: list[Candidate] = []
    for kind in kinds:
        candidates.append(_another(question, kind, candidates, knowledge, rng))
    return _Asked(question, candidates, rng.sample(raters_of(question.domain), 2))


def _revisit(asked: _Asked, knowledge: Knowledge, rng: Random) -> _Asked:
    """The question again: two responses from before and two new ones, for other raters."""
    candidates = list(asked.candidates)
    for kind in _draw(OTHER_KINDS | GOOD_KINDS, 2, rng):
        candidates.append(_another(asked.question, kind, candidates, knowledge, rng))
    before = rng.sample(asked.candidates, 2)
    others = [rater for rater in raters_of(asked.question.domain) if rater not in asked.raters]
    return _Asked(asked.question, before + candidates[-2:], rng.sample(others, len(others)))


def _another(
    question: Question, kind: Kind, known: list[Candidate], knowledge: Knowledge, rng: Random
) -> Candidate:
    """A response of this kind whose text differs from every known one."""
    while True:
        candidate = compose(question, kind, knowledge, rng)
        if candidate.text not in {other.text for other in known}:
            return candidate


def _draw(weights: dict[Kind, float], count: int, rng: Random) -> list[Kind]:
    """Different kinds, those of larger weight more often.

    Source: Efraimidis & Spirakis 2006, "Weighted random sampling with a reservoir".
    """
    keys = {kind: rng.random() ** (1 / weight) for kind, weight in weights.items()}
    return sorted(keys, key=keys.__getitem__, reverse=True)[:count]


def _batch(number: int, asked: list[_Asked], knowledge: Knowledge, rng: Random) -> list[Row]:
    """All rows of one batch, session by session in random order, numbered and dated."""
    sessions = [session for one in asked for session in _rating_sessions(one, knowledge, rng)]
    twos = [(one, two) for one in asked for two in combinations(one.candidates, 2)]
    compared = rng.sample(twos, COMPARISONS[number])
    sessions += [[_comparison(one, two, rng)] for one, two in compared]
    rng.shuffle(sessions)
    return list(_stamped(number, sessions, rng))


def _rating_sessions(asked: _Asked, knowledge: Knowledge, rng: Random) -> Iterator[list[Row]]:
    """One session, or for some prompts two, in which one rater rates every response."""
    count = 2 if rng.random() < SECOND_RATER_SHARE else 1
    for rater in asked.raters[:count]:
        yield [_feedback(asked, c, rater, knowledge, rng) for c in asked.candidates]


def _feedback(
    asked: _Asked, candidate: Candidate, rater: Rater, knowledge: Knowledge, rng: Random
) -> Row:
    row = _row("feedback", asked, rater)
    row |= {"response": candidate.text, "rating": stars(rater, candidate, rng)}
    if rng.random() < COMMENT_SHARE:
        row["comment"] = rng.choice(knowledge.phrases[f"comments {candidate.kind}"])
    return row


def _comparison(asked: _Asked, two: tuple[Candidate, Candidate], rng: Random) -> Row:
    rater = rng.choice(asked.raters)
    first, second = rng.sample(two, 2)
    return _row("preference", asked, rater) | {
        "response_a": first.text,
        "response_b": second.text,
        "preferred": choose(rater, first, second, rng),
    }


def _row(kind: str, asked: _Asked, rater: Rater) -> Row:
    """The fields that both kinds of rows share."""
    question = asked.question
    return {
        "kind": kind,
        "agent_name": question.agent_name,
        "rater_id": rater.rater_id,
        "prompt": question.prompt,
        "context": {"domain": question.domain},
    }


def _stamped(number: int, sessions: list[list[Row]], rng: Random) -> Iterator[Row]:
    """The rows in order with their batch, a running id, their session and a rising time."""
    now = START[number]
    for session_number, session in enumerate(sessions, start=1):
        for position, row in enumerate(session, start=1):
            now += timedelta(seconds=rng.randint(30, 900))
            yield {
                "kind": row["kind"],
                "batch": number,
                f"{row['kind']}_id": f"sample-{number}-{session_number:04d}-{position}",
                "session_id": f"sample-{number}-{session_number:04d}",
                "occurred_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            } | row
