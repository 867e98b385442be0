"""Which recorded interactions may be asked about: consented, readable, and not judged yet."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.splits import normalise_prompt
from shared.db.consents import consented_interactions
from shared.db.judged import is_judged
from shared.db.tables import InteractionRecord
from shared.ml.scorer import Pair
from shared.privacy import mac
from shared.privacy.fields import FieldCipher

UNKNOWN = "unknown"
_PORTION = 500


@dataclass(frozen=True)
class Interaction:
    """A recorded interaction without its texts.

    Attributes:
        slice: what the queue is balanced over.
        is_judged: whether somebody rated, corrected or gave a thumb for the whole response.
        draw: its place in a random order that never changes, whatever happens to it.
    """

    id: uuid.UUID
    interaction_id: str
    slice: str
    is_judged: bool
    draw: bytes


async def list_interactions(
    session: AsyncSession, secret: bytes, *, project_id: int, agent: str | None, by: str
) -> list[Interaction]:
    """Every interaction whose people allow training, in the order of its draw.

    The order is a keyed hash of the id. It depends neither on a model nor on who judged what, so
    the first so many interactions are a fair sample of all of them, now and later.

    Args:
        session: the database.
        secret: the deployment's secret.
        project_id: the project.
        agent: only this agent's.
        by: `agent`, or a key of the context.
    """
    record = InteractionRecord
    statement = select(
        col(record.id),
        col(record.interaction_id),
        col(record.agent_name) if by == "agent" else col(record.context)[by].astext,
        is_judged(project_id),
    ).where(*consented_interactions(project_id))
    if agent is not None:
        statement = statement.where(col(record.agent_name) == agent)
    found = [
        Interaction(row_id, name, slice_ or UNKNOWN, judged, _draw(secret, project_id, row_id))
        for row_id, name, slice_, judged in await session.execute(statement)
    ]
    return sorted(found, key=lambda one: one.draw)


async def read_pairs(
    session: AsyncSession,
    cipher: FieldCipher,
    ids: Collection[uuid.UUID],
    *,
    project_id: int,
) -> dict[uuid.UUID, Pair]:
    """Prompt and response of interactions, without those that lost a text to a destroyed key."""
    record, wanted = InteractionRecord, sorted(ids)
    pairs: dict[uuid.UUID, Pair] = {}
    for start in range(0, len(wanted), _PORTION):
        portion = wanted[start : start + _PORTION]
        statement = select(
            col(record.id), col(record.project_id), col(record.user_prompt), col(record.ai_response)
        ).where(col(record.id).in_(portion), col(record.project_id) == project_id)
        rows = [dict(row) for row in (await session.execute(statement)).mappings()]
        lost = await cipher.unseal("rlhf_interaction_records", rows)
        for at, row in enumerate(rows):
            if at not in lost and row["ai_response"]:
                pairs[row["id"]] = Pair(row["user_prompt"], row["ai_response"])
    return pairs


def distinct(order: Sequence[uuid.UUID], pairs: dict[uuid.UUID, Pair]) -> list[uuid.UUID]:
    """Those ids whose texts are readable, each text once: the first of its kind in the order."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for row_id in order:
        if row_id in pairs:
            text = normalise_prompt(pairs[row_id].prompt), normalise_prompt(pairs[row_id].response)
            if text not in seen:
                seen.add(text)
                kept.append(row_id)
    return kept


def _draw(secret: bytes, project_id: int, row_id: uuid.UUID) -> bytes:
    return mac(secret, "review-audit", str(project_id), row_id.bytes)
