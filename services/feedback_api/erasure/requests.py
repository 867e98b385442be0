"""Erases a person from the database, in one transaction, and hands the files to a job.

The transaction leaves a row of `rlhf_erasures` with the numbers of the erased row versions, an
entry in the audit log, an event, the lineage of the datasets concerned, and the job that rewrites
their files and finishes the receipt.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.feedback_api.erasure.holdings import Person, find, hold
from services.feedback_api.erasure.recording import Cause, record
from services.feedback_api.erasure.removal import remove_held, remove_person
from services.feedback_api.erasure.taint import ErasurePolicy, apply_policy
from shared.contracts.values import ErasureKind, Event
from shared.db.events import announce
from shared.db.tables import Erasure
from shared.errors import NotFound
from shared.privacy.fields import destroy_person_keys


@dataclass(frozen=True)
class Asked:
    """An erasure, and whether this request made it; if not, an earlier one had left nothing."""

    erasure: Erasure
    is_new: bool


async def erase_person(
    session: AsyncSession, person: Person, *, actor: str, policy: ErasurePolicy
) -> Asked:
    """Erase all that is held of a person; asking again when nothing is left gives the last one.

    Raises:
        NotFound: nothing is held of the person, and nothing was ever erased.
        Overloaded: the person's rows changed faster than they could be locked.
    """
    await _take_turns(session, person)
    # First, so that no post that is sealed under the key is stored after the rows were found.
    keys = await destroy_person_keys(session, person.project_id, [person.pseudonym])
    held = await hold(session, partial(find, session, person))
    gone = await remove_held(session, held, person.project_id)
    gone += await remove_person(session, person)
    gone["rlhf_subject_keys"] = keys
    if not +gone:
        return Asked(await _latest(session, person), is_new=False)
    now = (await session.scalars(select(func.now()))).one()
    cause = Cause(
        person.project_id,
        ErasureKind(person.kind),
        person.pseudonym,
        actor=actor,
        deadline=policy.deadline_of(now),
    )
    erasure = await record(session, cause, held, gone)
    payload = {
        "erasure_id": str(erasure.id),
        "kind": erasure.kind,
        "person": erasure.person,
    }
    announce(session, Event.SUBJECT_ERASED, payload, project_id=person.project_id)
    await apply_policy(session, policy, person.project_id)
    return Asked(erasure, is_new=True)


async def find_erasure(session: AsyncSession, project_id: int, erasure_id: uuid.UUID) -> Erasure:
    """One erasure.

    Raises:
        NotFound: the project has none of this id.
    """
    found = await session.get(Erasure, erasure_id)
    if found is None or found.project_id != project_id:
        raise NotFound("There is no erasure with this id in the project of the key.")
    return found


async def list_erasures(
    session: AsyncSession, project_id: int, limit: int, before: uuid.UUID | None
) -> Sequence[Erasure]:
    """The newest erasures, newest first; `before` is the id of the last one of the page before."""
    statement = select(Erasure).where(col(Erasure.project_id) == project_id)
    if before is not None:
        statement = statement.where(col(Erasure.id) < before)
    newest = statement.order_by(col(Erasure.id).desc()).limit(limit)
    return (await session.scalars(newest)).all()


async def _take_turns(session: AsyncSession, person: Person) -> None:
    """Let one transaction at a time erase a person."""
    name = f"erasure:{person.project_id}:{person.pseudonym}"
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


async def _latest(session: AsyncSession, person: Person) -> Erasure:
    statement = select(Erasure).where(
        col(Erasure.project_id) == person.project_id,
        col(Erasure.kind) == person.kind,
        col(Erasure.person) == person.pseudonym,
    )
    found = await session.scalar(statement.order_by(col(Erasure.id).desc()).limit(1))
    if found is None:
        raise NotFound(
            f"Nothing is held of this {person.kind} in the project of the key. Check the id and "
            "the kind: a person may be known as a rater, as a subject, or as both."
        )
    return found
