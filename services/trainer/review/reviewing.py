"""Makes the review queue of a deployment: reads, scores and chooses; texts stay where they lie."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from services.trainer.evaluation.models import FoundModel, registered_model
from services.trainer.queries import groups_trained_on
from services.trainer.review.asking import Asked, doubts_from, draw_audit, make_queue
from services.trainer.review.choosing import Floats
from services.trainer.review.estimating import (
    Agreement,
    agreement,
    judged_sample,
    read_stars,
)
from services.trainer.review.pool import Interaction, distinct, list_interactions, read_pairs
from services.trainer.splits import group_by_secret
from services.trainer.workplace import Workplace
from shared.contracts.manifest import Truncation
from shared.db.audit import audit, person_name
from shared.errors import NotEnoughData
from shared.ml.artifact import load_scorer
from shared.ml.backbones import default_encoder_folder
from shared.ml.encoder import open_encoder
from shared.ml.head import join_embedded
from shared.ml.scorer import Pair, PairReader, Scores, joined
from shared.registry import CHAMPION, champion

GOOD_RATING = 4.0
_WINDOW = Truncation(prompt_tokens=256, response_tokens=256)
_PORTION = 64


@dataclass(frozen=True)
class QueuePlan:
    """What to ask about.

    Attributes:
        count: how long the queue may be.
        audit_share: share of it that is drawn at random, 0–1.
        agent: only this agent's interactions.
        by: what the rest is balanced over: `agent`, or a key of the context.
        model: whose doubt counts, as `heed evaluate` names models.
        pool: most interactions that are scored; of more, a random part.
    """

    count: int = 50
    audit_share: float = 0.2
    agent: str | None = None
    by: str = "agent"
    model: str = CHAMPION
    pool: int = 2000
    project_id: int = 1


@dataclass(frozen=True)
class ReviewQueue:
    """The queue, the texts it is about, and how many interactions there are to choose from."""

    asked: Sequence[Asked]
    pairs: Mapping[uuid.UUID, Pair]
    recorded: int
    unjudged: int
    model: str | None


async def review_queue(workplace: Workplace, plan: QueuePlan) -> ReviewQueue:
    """The next responses to ask people about; texts are scored and embedded in threads.

    Raises:
        NotEnoughData: nothing is recorded that may be asked about.
        NotFound: there is no such model.
        ArtifactError: the model cannot be loaded.
    """
    async with workplace.sessions() as session:
        interactions = await list_interactions(
            session, workplace.secret, project_id=plan.project_id, agent=plan.agent, by=plan.by
        )
        unjudged = [one for one in interactions if not one.is_judged]
        pool = unjudged[: max(plan.pool, plan.count)]
        pairs = await read_pairs(
            session, workplace.cipher, [one.id for one in pool], project_id=plan.project_id
        )
        found = await _find_model(session, workplace, plan)
    readable = [one for one in pool if one.id in pairs]
    if not readable:
        raise NotEnoughData(
            "No recorded interaction is left to ask about: all are judged, nobody consented to "
            "training, or none was posted to /interactions."
        )
    share, others = _shares(readable, pairs, plan)
    scores = await _scores(found, workplace, [pairs[one.id] for one in (*share, *others)])
    asked = await asyncio.to_thread(
        make_queue, share, others, pairs,
        doubts=doubts_from(scores, len(share) + len(others)), embed=_embed,
        count=plan.count - len(share),
    )  # fmt: skip
    name = found.name if found else None
    return ReviewQueue(asked, pairs, len(interactions), len(unjudged), name)


async def audited_agreement(workplace: Workplace, plan: QueuePlan) -> Agreement:
    """How often a model agrees with people on the random share that they judged so far.

    Raises:
        NotEnoughData: nothing of the random share is judged yet.
        NotFound: there is no such model.
        ArtifactError: the model cannot be loaded.
    """
    async with workplace.sessions() as session:
        interactions = await list_interactions(
            session, workplace.secret, project_id=plan.project_id, agent=plan.agent, by=plan.by
        )
        sample = judged_sample(interactions)
        if not sample:
            raise NotEnoughData(
                "Nothing of the random share is judged yet: ask people about the first rows of "
                "`heed review queue`, those drawn at random."
            )
        pairs = await read_pairs(
            session, workplace.cipher, [one.id for one in sample], project_id=plan.project_id
        )
        stars = await read_stars(session, plan.project_id)
        trained = await groups_trained_on(session, plan.project_id)
        found = await _registered(session, workplace, plan)
    scorer = load_scorer(found.folder, secret=workplace.secret)
    group_of = group_by_secret(workplace.secret, plan.project_id)
    unseen = {row_id: group_of(pair.prompt) not in trained for row_id, pair in pairs.items()}
    return agreement(
        scorer, sample, pairs, stars, unseen=unseen,
        good_rating=float(scorer.manifest.parameters.get("good_rating") or GOOD_RATING),
    )  # fmt: skip


async def record_reading(workplace: Workplace, queue: ReviewQueue, project_id: int = 1) -> None:
    """Put into the audit log that somebody was shown the texts of a queue."""
    ids = [one.interaction_id for one in queue.asked]
    async with workplace.sessions.begin() as session:
        audit(
            session,
            "rows.read",
            actor=person_name(),
            target="review-queue",
            project_id=project_id,
            detail={"count": len(ids), "rows": [str(one.id) for one in queue.asked]},
        )


def _shares(
    readable: Sequence[Interaction], pairs: dict[uuid.UUID, Pair], plan: QueuePlan
) -> tuple[list[Interaction], list[Interaction]]:
    """The random share, and the candidates for the rest: other texts than those, each once."""
    audited = draw_audit(readable, round(plan.count * plan.audit_share))
    kept = set(distinct([one.id for one in readable], pairs)) - {one.id for one in audited}
    return audited, [one for one in readable if one.id in kept]


async def _find_model(
    session: AsyncSession, workplace: Workplace, plan: QueuePlan
) -> FoundModel | None:
    """The model that was asked for; nothing was promoted yet is no fault of the default."""
    if plan.model == CHAMPION and await champion(session, project_id=plan.project_id) is None:
        return None
    return await _registered(session, workplace, plan)


async def _registered(session: AsyncSession, workplace: Workplace, plan: QueuePlan) -> FoundModel:
    return await registered_model(
        session, plan.model, store=workplace.store, secret=workplace.secret,
        project_id=plan.project_id,
    )  # fmt: skip


async def _scores(
    found: FoundModel | None, workplace: Workplace, pairs: Sequence[Pair]
) -> Scores | None:
    """What the model says of the pairs, in portions: whoever stops waits for one of them only."""
    if found is None or not pairs:
        return None
    scorer = await asyncio.to_thread(load_scorer, found.folder, secret=workplace.secret)
    parts = [
        await asyncio.to_thread(scorer.score, pairs[start : start + _PORTION], details=True)
        for start in range(0, len(pairs), _PORTION)
    ]
    return joined(parts)


def _embed(pairs: Sequence[Pair]) -> Floats:
    """Prompt and response of each pair, embedded apart, as one vector of length 1.

    Together in one window, a long prompt that is always the same would leave no response to see.
    """
    reader = PairReader(open_encoder(default_encoder_folder()), _WINDOW, separator=None)
    read = [
        reader.read(pairs[start : start + _PORTION]).embedded
        for start in range(0, len(pairs), _PORTION)
    ]
    both = join_embedded(read)
    sides = np.hstack([_unit(both.prompt), _unit(both.response)])
    return np.asarray(sides / np.sqrt(2.0))


def _unit(rows: NDArray[np.float32]) -> Floats:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
