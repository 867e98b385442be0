"""Posts become evidence: what people said of responses, each naming the rows it was made of.

Every kind of feedback ends as one of six kinds of lines (docs/datasets.md):

- a pair, where people preferred one response to another: a choice, a ranking, a correction, or two
  differently rated responses to the same prompt;
- a rated response;
- a response that was rated by aspect alone;
- a tie of two responses;
- a ranking of several, beside the pairs it implies;
- a rated step of the reasoning behind a response.

A seventh kind of line is no feedback: a prompt that nobody judged (services/trainer/recorded.py).
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from services.trainer.examples import (
    PreferencePair,
    RankedResponses,
    RatedAspects,
    RatedResponse,
    RatedStep,
    RecordedPrompt,
    Scale,
    TiedPair,
    slices_in_common,
)
from services.trainer.likelihood.terms import strength_weight
from services.trainer.splits import GroupOf
from shared.contracts.values import Outcome, Thumb

# Comparing every two of many responses to one prompt would drown the other prompts: each is
# compared with this many others at most.
MOST_COMPARED = 20
THUMB_STARS = {Thumb.UP: 4.0, Thumb.DOWN: 2.0}
_SLICE_CHARS = 64


@dataclass(frozen=True)
class _Post:
    seq: int
    id: uuid.UUID
    rater: str | None
    agent: str | None
    task: str | None
    context: dict[str, Any]
    at: datetime

    @property
    def said(self) -> dict[str, Any]:
        """Who said it and when, and what it is reported under."""
        return {"rater": self.rater, "at": moment(self.at), "slices": self.slices}

    @cached_property
    def slices(self) -> dict[str, str]:
        """Agent, task and the short texts of the context, to report on separately."""
        return short_texts({"agent": self.agent, "task": self.task, **self.context})


@dataclass(frozen=True)
class FeedbackRow(_Post):
    """A live post of feedback on one response, as far as training needs it."""

    prompt: str
    response: str
    rating: int | None = None
    human_rating: float | None = None
    thumbs: str | None = None
    corrected_response: str | None = None
    aspects: dict[str, float] | None = None

    @property
    def graded(self) -> tuple[Scale, float] | None:
        """The scale of its rating and the value in stars, 1–5; None when it has no rating."""
        if self.rating is not None:
            return "stars", float(self.rating)
        if self.human_rating is not None:
            return "unit", 1.0 + 4.0 * self.human_rating
        if self.thumbs is not None:
            return "thumbs", THUMB_STARS[Thumb(self.thumbs)]
        return None


@dataclass(frozen=True)
class PreferenceRow(_Post):
    """A live comparison, as far as training needs it."""

    prompt: str
    response_a: str
    response_b: str
    outcome: str
    candidates: list[dict[str, Any]] | None = None
    ranking: list[Any] | None = None
    strength: float | None = None
    presented_order: list[str] | None = None


@dataclass(frozen=True)
class StepRow(FeedbackRow):
    """A live post of feedback on one reasoning step; `response` is the text of the step.

    `earlier` holds the texts of the steps before it, in their order.
    """

    earlier: tuple[str, ...] = ()


@dataclass
class Evidence:
    """What one snapshot holds, and the `seq` of every row in it."""

    pairs: list[PreferencePair] = field(default_factory=list)
    rated: list[RatedResponse] = field(default_factory=list)
    ties: list[TiedPair] = field(default_factory=list)
    rankings: list[RankedResponses] = field(default_factory=list)
    steps: list[RatedStep] = field(default_factory=list)
    aspects: list[RatedAspects] = field(default_factory=list)
    prompts: list[RecordedPrompt] = field(default_factory=list)
    seqs: set[int] = field(default_factory=set)

    @property
    def groups(self) -> dict[bytes, bool]:
        """Every prompt group that was judged, and whether it has comparisons."""
        found = {as_bytes(one.group): False for one in self.rated}
        found |= {as_bytes(tie.group): False for tie in self.ties}
        found |= {as_bytes(step.group): False for step in self.steps}
        found |= {as_bytes(one.group): False for one in self.aspects}
        return found | {as_bytes(pair.group): True for pair in self.pairs}

    @property
    def judged(self) -> int:
        """Rated responses and steps, and comparisons that come from no rating."""
        compared = sum(pair.source != "rating" for pair in self.pairs)
        return len(self.rated) + len(self.steps) + compared


def collect_evidence(
    feedback: Sequence[FeedbackRow],
    preferences: Sequence[PreferenceRow],
    group_of: GroupOf,
    steps: Sequence[StepRow] = (),
) -> Evidence:
    """Everything these posts say about which responses, and which reasoning steps, are good."""
    evidence = Evidence()
    _add_feedback(evidence, feedback, group_of)
    for row in preferences:
        _add_preference(evidence, row, group_of)
    for step in steps:
        _add_step(evidence, step, group_of)
    return evidence


def short_texts(named: Mapping[str, Any]) -> dict[str, str]:
    """Those of the named values that can be reported under: short texts."""
    return {
        name: value
        for name, value in sorted(named.items())
        if isinstance(value, str) and 0 < len(value) <= _SLICE_CHARS
    }


def moment(at: datetime) -> str:
    """A time as snapshots write it: ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat()


def _add_feedback(evidence: Evidence, rows: Sequence[FeedbackRow], group_of: GroupOf) -> None:
    graded: dict[tuple[bytes, str], list[FeedbackRow]] = defaultdict(list)
    for row in rows:
        group = group_of(row.prompt)
        if row.graded is not None:
            scale, stars = row.graded
            graded[group, scale].append(row)
            evidence.rated.append(_rated(row, stars, group))
            evidence.seqs.add(row.seq)
        elif row.aspects:
            evidence.aspects.append(_rated_by_aspect(row, row.aspects, group))
            evidence.seqs.add(row.seq)
        if row.corrected_response and row.corrected_response.strip() != row.response.strip():
            evidence.pairs.append(_corrected(row, row.corrected_response, group))
            evidence.seqs.add(row.seq)
    for (group, _), alike in graded.items():
        evidence.pairs.extend(_rated_pairs(alike, group))


def _rated(row: FeedbackRow, stars: float, group: bytes) -> RatedResponse:
    scale = row.graded[0] if row.graded else "stars"
    return RatedResponse(
        row.prompt,
        row.response,
        stars,
        group,
        str(row.id),
        scale=scale,
        aspects=row.aspects or {},
        **row.said,
    )


def _rated_by_aspect(row: FeedbackRow, aspects: dict[str, float], group: bytes) -> RatedAspects:
    return RatedAspects(row.prompt, row.response, aspects, group, str(row.id), **row.said)


def _corrected(row: FeedbackRow, corrected: str, group: bytes) -> PreferencePair:
    return PreferencePair(
        row.prompt,
        chosen=corrected,
        rejected=row.response,
        group=group,
        source="correction",
        row_ids=(str(row.id),),
        **row.said,
    )


def _add_step(evidence: Evidence, row: StepRow, group_of: GroupOf) -> None:
    if row.graded is None:
        return
    scale, stars = row.graded
    steps = (*row.earlier, row.response)
    group = group_of(row.prompt)
    evidence.steps.append(
        RatedStep(row.prompt, steps, stars, group, str(row.id), scale=scale, **row.said)
    )
    evidence.seqs.add(row.seq)


def _rated_pairs(rows: Iterable[FeedbackRow], group: bytes) -> Iterator[PreferencePair]:
    """Differently rated responses to one prompt, each two compared as fairly as the rows allow.

    Raters who rated both are asked first, since people use scales differently; where nobody did,
    the mean ratings are compared.
    """
    by_response: dict[str, list[FeedbackRow]] = defaultdict(list)
    for row in rows:
        by_response[row.response].append(row)
    for one, other in _some_twos(sorted(by_response)):
        shared = _by_same_rater(by_response[one], by_response[other])
        for left, right in shared or [(by_response[one], by_response[other])]:
            if (pair := _better_first(left, right, group)) is not None:
                yield pair


def _some_twos(responses: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every two responses, or with very many each with some neighbours in the sorted order."""
    count = len(responses)
    if count <= 2 * MOST_COMPARED:
        yield from combinations(responses, 2)
        return
    for at, response in enumerate(responses):
        for step in range(1, MOST_COMPARED // 2 + 1):
            yield response, responses[(at + step) % count]


def _by_same_rater(
    one: Sequence[FeedbackRow], other: Sequence[FeedbackRow]
) -> list[tuple[list[FeedbackRow], list[FeedbackRow]]]:
    rated_other = {row.rater: row for row in other if row.rater is not None}
    return [([row], [rated_other[row.rater]]) for row in one if row.rater in rated_other]


def _better_first(
    one: Sequence[FeedbackRow], other: Sequence[FeedbackRow], group: bytes
) -> PreferencePair | None:
    left, right = _mean_stars(one), _mean_stars(other)
    if left == right:
        return None
    better, worse = (one, other) if left > right else (other, one)
    return PreferencePair(
        better[0].prompt,
        chosen=better[0].response,
        rejected=worse[0].response,
        group=group,
        source="rating",
        row_ids=tuple(str(row.id) for row in (*better, *worse)),
        slices=slices_in_common(row.slices for row in (*better, *worse)),
        rater=better[0].rater if len({row.rater for row in (*better, *worse)}) == 1 else None,
        at=max(moment(row.at) for row in (*better, *worse)),
    )


def _mean_stars(rows: Sequence[FeedbackRow]) -> float:
    return fmean(row.graded[1] for row in rows if row.graded is not None)


def _add_preference(evidence: Evidence, row: PreferenceRow, group_of: GroupOf) -> None:
    group = group_of(row.prompt)
    if row.outcome in (Outcome.TIE, Outcome.BOTH_BAD):
        responses = (row.response_a, row.response_b)
        tie = TiedPair(row.prompt, responses, row.outcome, group, str(row.id), **row.said)
        evidence.ties.append(tie)
    else:
        if row.outcome == Outcome.RANKING and len(set(ranked := _ranked_texts(row))) > 1:
            ranking = RankedResponses(row.prompt, tuple(ranked), group, str(row.id), **row.said)
            evidence.rankings.append(ranking)
        evidence.pairs.extend(_preferred(row, group))
    evidence.seqs.add(row.seq)


def _preferred(row: PreferenceRow, group: bytes) -> Iterator[PreferencePair]:
    is_ranking = row.outcome == Outcome.RANKING
    if is_ranking:
        ranked = _ranked_texts(row)
        # a ranking of K says K - 1 independent things, however many pairs it implies
        weight = 2.0 / max(len(ranked), 2)
        sides = list(combinations(ranked, 2))
    else:
        weight = strength_weight(row.strength)
        both = (row.response_a, row.response_b)
        sides = [both if row.outcome == Outcome.A else both[::-1]]
    for chosen, rejected in sides:
        if chosen != rejected:
            yield PreferencePair(
                row.prompt,
                chosen=chosen,
                rejected=rejected,
                group=group,
                weight=weight,
                source="ranking" if is_ranking else "preference",
                row_ids=(str(row.id),),
                strength=row.strength,
                presented_first=None if is_ranking else _first_shown(row),
                **row.said,
            )


def _first_shown(row: PreferenceRow) -> Literal["chosen", "rejected"] | None:
    if not row.presented_order:
        return None
    return "chosen" if row.presented_order[0] == row.outcome else "rejected"


def _ranked_texts(row: PreferenceRow) -> list[str]:
    """The candidates' texts, best first."""
    texts = {candidate.get("id"): candidate.get("text") for candidate in row.candidates or []}
    ranked = [texts.get(candidate) for candidate in row.ranking or []]
    return [text for text in ranked if isinstance(text, str)]


def as_bytes(group: bytes | str) -> bytes:
    """A prompt group's hash, which files write in hex."""
    return group if isinstance(group, bytes) else bytes.fromhex(group)
