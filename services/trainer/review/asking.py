"""The review queue: which responses to ask people about next, and why each.

A share of the queue is drawn at random from everything, whatever the model thinks: only on such
rows does a model's accuracy mean what it says. The rest goes where a judgement teaches most.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.review.choosing import Floats, choose_diverse, quotas
from services.trainer.review.pool import Interaction
from shared.contracts.review import Reason
from shared.ml.scorer import Pair, Scores

Embed = Callable[[Sequence[Pair]], Floats]

# Of each slice so many times its quota are compared by their embeddings, the most doubtful first.
_SHORTLIST = 4


@dataclass(frozen=True)
class Asked:
    """One response to ask people about.

    Attributes:
        reason: `audit` (drawn at random), `unsure` (the model has seen little like it),
            `undecided` (its probability is near a half), or `coverage` (there is no model).
        probability: the model's, that the response is good; None without a model.
        uncertainty: standard deviation of its reward; None when the model has none.
        out_of_domain: whether it is unlike what the model was trained on; None when not known.
    """

    id: uuid.UUID
    interaction_id: str
    slice: str
    reason: Reason
    probability: float | None = None
    uncertainty: float | None = None
    out_of_domain: bool | None = None

    @property
    def is_audit(self) -> bool:
        """Whether it belongs to the random share."""
        return self.reason == "audit"


def draw_audit(interactions: Sequence[Interaction], count: int) -> list[Interaction]:
    """The next of the random sample that nobody judged.

    The sample is the beginning of the fixed random order. What others judged of it stays in it, so
    once these are judged, all of it is, and it is as fair as if it had been drawn today.

    Args:
        interactions: in the order of their draw.
        count: how many to ask about.
    """
    return [one for one in interactions if not one.is_judged][:count]


@dataclass(frozen=True)
class Doubts:
    """What a model says of candidates and how much it doubts, >= 0, shape (n,)."""

    reason: Reason
    values: Floats
    scores: Scores | None

    def asked(self, one: Interaction, at: int, reason: Reason) -> Asked:
        """The candidate at a place, as it is put into the queue."""
        scores = self.scores
        if scores is None:
            return Asked(one.id, one.interaction_id, one.slice, reason)
        return Asked(
            one.id,
            one.interaction_id,
            one.slice,
            reason,
            float(scores.probability[at]),
            None if scores.uncertainty is None else float(scores.uncertainty[at]),
            None if scores.out_of_domain is None else bool(scores.out_of_domain[at]),
        )


def doubts_from(scores: Scores | None, count: int) -> Doubts:
    """How much a judgement of each of so many responses would teach, from what a model says.

    A model with a posterior doubts what it has seen little of; another one what it calls neither
    good nor bad, p (1 − p). All are alike when there is no model.
    """
    if scores is None:
        return Doubts("coverage", np.ones(count), None)
    if scores.uncertainty is not None:
        return Doubts("unsure", scores.uncertainty, scores)
    return Doubts("undecided", scores.probability * (1.0 - scores.probability), scores)


def make_queue(
    audit: Sequence[Interaction],
    others: Sequence[Interaction],
    pairs: Mapping[uuid.UUID, Pair],
    *,
    doubts: Doubts,
    embed: Embed,
    count: int,
) -> list[Asked]:
    """The queue: the random share first, then by doubt and coverage, slice by slice.

    Args:
        audit: the random share.
        others: candidates for the rest, not judged.
        pairs: the texts of both.
        doubts: of both, in their order.
        embed: embeddings of length 1 of responses, shape (n, d).
        count: how many of the others to take.
    """
    listed = [*audit, *others]
    queue = [doubts.asked(one, at, "audit") for at, one in enumerate(audit)]
    by_slice: dict[str, list[int]] = defaultdict(list)
    for at in range(len(audit), len(listed)):
        by_slice[listed[at].slice].append(at)
    for name, quota in quotas(Counter(one.slice for one in others), count).items():
        ranked = sorted(by_slice[name], key=lambda at: -doubts.values[at])[: quota * _SHORTLIST]
        if not ranked:
            continue
        embeddings = embed([pairs[listed[at].id] for at in ranked])
        for place in choose_diverse(doubts.values[ranked], embeddings, quota):
            at = ranked[place]
            queue.append(doubts.asked(listed[at], at, doubts.reason))
    return queue
