"""Puts the sample together: who rated which response, when, and in which of two batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    Kind.PARTIAL: 0.13,
    Kind.DETAIL: 0.1,
    Kind.MISTAKEN: 0.12,
    Kind.SIBLING: 0.17,
    Kind.STRAY: 0.36,
    Kind.EVASIVE: 0.12,
}


@dataclass(frozen=True)
class Sample:
    """Rows to train on first and rows that come later, each in the order of posting."""

    first: list[Row]
    later: list[Row]


@dataclass(frozen=True)
class _Asked:
    """A question with the responses that raters get to see."""

    question: Question
    candidates: list[Candidate]


def build_sample(seed: int = SEED) -> Sample:
    """The sample of this seed; the same seed gives the same rows."""
    rng = Random(seed)
    knowledge = load_knowledge()
    asked = [
        _Asked(question, _candidates(question, knowledge, rng))
        for question in rng.sample(knowledge.questions, len(knowledge.questions))
    ]
    fresh, early = asked[:LATER_ONLY_PROMPTS], asked[LATER_ONLY_PROMPTS:]
    revisited = [_revisited(a, knowledge, rng) for a in rng.sample(early, REVISITED_PROMPTS)]
    return Sample(
        first=_batch(1, early, knowledge, rng), later=_batch(2, fresh + revisited, knowledge, rng)
    )


def _candidates(question: Question, knowledge: Knowledge, rng: Random) -> list[Candidate]:
    """One good response and three of drawn kinds, in random order."""
    kinds = _draw(GOOD_KINDS, 1, rng) + _draw(OTHER_KINDS, RESPONSES_PER_PROMPT - 1, rng)
    rng.shuffle(kinds)
    return [compose(question, kind, knowledge, rng) for kind in kinds]


def _revisited(asked: _Asked, knowledge: Knowledge, rng: Random) -> _Asked:
    """The question again, with two responses from before and two new ones."""
    fresh = _candidates(asked.question, knowledge, rng)
    return _Asked(asked.question, rng.sample(asked.candidates, 2) + fresh[:2])


def _draw(kinds: dict[Kind, float], count: int, rng: Random) -> list[Kind]:
    return rng.choices(list(kinds), weights=list(kinds.values()), k=count)


def _batch(number: int, asked: list[_Asked], knowledge: Knowledge, rng: Random) -> list[Row]:
    """All rows of one batch, session by session in random order, numbered and dated."""
    sessions = [session for one in asked for session in _rating_sessions(one, knowledge, rng)]
    compared = rng.choices(asked, k=COMPARISONS[number])
    sessions += [[_comparison(one, rng)] for one in compared]
    rng.shuffle(sessions)
    return list(_stamped(number, sessions, rng))


def _rating_sessions(asked: _Asked, knowledge: Knowledge, rng: Random) -> Iterator[list[Row]]:
    """One session, or for some prompts two, in which one rater rates every response."""
    count = 2 if rng.random() < SECOND_RATER_SHARE else 1
    for rater in rng.sample(raters_of(asked.question.domain), count):
        yield [_feedback(asked, c, rater, knowledge, rng) for c in asked.candidates]


def _feedback(
    asked: _Asked, candidate: Candidate, rater: Rater, knowledge: Knowledge, rng: Random
) -> Row:
    row = _row("feedback", asked, rater)
    row |= {"response": candidate.text, "rating": stars(rater, candidate, rng)}
    if rng.random() < COMMENT_SHARE:
        row["comment"] = rng.choice(knowledge.phrases[f"comments {candidate.kind}"])
    return row


def _comparison(asked: _Asked, rng: Random) -> Row:
    rater = rng.choice(raters_of(asked.question.domain))
    first, second = rng.sample(asked.candidates, 2)
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
        "context": {"domain": question.domain, "topic": question.topic},
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
