"""Prompts that applications recorded and nobody judged: more to write responses to.

Only policies that write their own responses use them; a reward model learns nothing from them.
"""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.trainer.datasets import Evidence, moment, short_texts
from services.trainer.examples import RecordedPrompt
from services.trainer.splits import GroupOf
from shared.db.consents import consented_interactions
from shared.db.tables import Feedback, InteractionRecord
from shared.privacy.fields import FieldCipher

LOOKED_AT = 20  # interactions for every prompt that is wanted, where the same is asked again
_PORTION = 1000


async def add_recorded_prompts(
    session: AsyncSession,
    evidence: Evidence,
    *,
    most: int,
    project_id: int,
    cipher: FieldCipher,
    group_of: GroupOf,
) -> None:
    """Add the prompts of the newest interactions that nobody has said anything of, each once.

    Their people allow training, their texts can be read, and no judgement in the evidence is of
    the same prompt. At most 20 · `most` interactions are looked at.
    """
    known = set(evidence.groups)
    async for row in _newest_first(session, project_id, cipher, at_most=LOOKED_AT * most):
        if len(evidence.prompts) == most:
            return
        prompt = row["user_prompt"]
        group = group_of(prompt)
        if group in known or not prompt.strip():
            continue
        known.add(group)
        evidence.seqs.add(row["seq"])
        evidence.prompts.append(
            RecordedPrompt(
                prompt,
                group,
                str(row["id"]),
                at=moment(row["timestamp"]),
                slices=short_texts({"agent": row["agent_name"], **row["context"]}),
            )
        )


async def _newest_first(
    session: AsyncSession, project_id: int, cipher: FieldCipher, *, at_most: int
) -> AsyncIterator[dict[str, Any]]:
    table, below = InteractionRecord.__tablename__, None
    for _ in range(0, at_most, _PORTION):
        statement = _unjudged(project_id, below).limit(min(_PORTION, at_most))
        found = [dict(row) for row in (await session.execute(statement)).mappings()]
        if not found:
            return
        below = found[-1]["seq"]
        lost = await cipher.unseal(table, found)
        for at, row in enumerate(found):
            if at not in lost:
                yield row


def _unjudged(project_id: int, below: int | None) -> Select[Any]:
    """Interactions that no feedback names, whatever it says and whoever may learn from it."""
    record = InteractionRecord
    said = select(col(Feedback.id)).where(
        col(Feedback.project_id) == project_id,
        col(Feedback.target) == col(record.interaction_id),
    )
    wanted = ("seq", "id", "project_id", "user_prompt", "agent_name", "context", "timestamp")
    columns = [col(getattr(record, name)) for name in wanted]
    statement: Select[Any] = select(*columns)
    statement = statement.where(*consented_interactions(project_id), ~said.exists())
    if below is not None:
        statement = statement.where(col(record.seq) < below)
    return statement.order_by(col(record.seq).desc())
