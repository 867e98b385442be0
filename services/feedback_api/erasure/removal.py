"""Deletes what is held of a person, in portions, inside the caller's transaction."""

from collections import Counter
from typing import Any

from sqlalchemy import Delete, any_, delete, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.feedback_api.erasure.holdings import (
    TABLES,
    Held,
    Person,
    numbers,
    portions,
    texts,
    uuids,
)
from shared.contracts.values import PersonKind
from shared.db.tables import (
    Consent,
    Decision,
    InteractionRecord,
    Rater,
    ReasoningStep,
    Receipt,
)

_AT_ONCE = {"synchronize_session": False}
Counts = Counter[str]


async def remove_held(session: AsyncSession, held: Held, project_id: int) -> Counts:
    """Delete the rows and the receipts of their posts; how many of each table."""
    gone: Counts = Counter()
    for ids in portions([*held.row_ids, *held.interactions]):
        gone["rlhf_receipts"] += await _run(
            session, delete(Receipt).where(col(Receipt.row_id) == any_(uuids(ids)))
        )
    for table, history, _ in TABLES:
        for ids in portions(held.live(table)):
            statement = delete(table).where(col(table.id) == any_(uuids(ids)))
            gone[table.__tablename__] += await _run(session, statement)
        for seqs in portions(list(held.versions.get(history.__tablename__, {}).values())):
            statement = delete(history).where(col(history.seq) == any_(numbers(seqs)))
            gone[history.__tablename__] += await _run(session, statement)
    return gone + await _remove_interactions(session, held, project_id)


async def remove_person(session: AsyncSession, person: Person) -> Counts:
    """Delete what else names the person; how many rows of each table.

    Of consents, those that were given go. A withdrawal stays: it keeps what is still on its way
    from being trained on, and proves that it was heard.
    """
    gone: Counts = Counter()
    is_given = delete(Consent).where(
        col(Consent.project_id) == person.project_id,
        col(Consent.kind) == person.kind,
        col(Consent.person) == person.pseudonym,
        col(Consent.granted),
    )
    gone["rlhf_consents"] = await _run(session, is_given)
    if person.kind is PersonKind.RATER:
        known = delete(Rater).where(
            col(Rater.project_id) == person.project_id, col(Rater.rater) == person.pseudonym
        )
        gone["rlhf_raters"] = await _run(session, known)
    unnamed = (
        update(Decision)
        .where(
            col(Decision.project_id) == person.project_id,
            col(Decision.unit) == person.pseudonym,
        )
        .values(unit=None)
    )
    gone["rlhf_decisions"] = await _run(session, unnamed)
    return gone


async def _remove_interactions(session: AsyncSession, held: Held, project_id: int) -> Counts:
    gone: Counts = Counter()
    for ids in portions(list(held.interactions)):
        recorded = delete(InteractionRecord).where(col(InteractionRecord.id) == any_(uuids(ids)))
        gone["rlhf_interaction_records"] += await _run(session, recorded)
    for chats in portions(sorted(held.chats)):
        steps = delete(ReasoningStep).where(
            col(ReasoningStep.project_id) == project_id,
            col(ReasoningStep.chat_id) == any_(texts(chats)),
        )
        gone["reasoning_steps"] += await _run(session, steps)
    return gone


async def _run(session: AsyncSession, statement: Delete | Any) -> int:
    done = await session.execute(statement, execution_options=_AT_ONCE)
    return int(done.rowcount)  # type: ignore[attr-defined]
