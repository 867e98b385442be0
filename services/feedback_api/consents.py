"""What people said of the use of their data, purpose by purpose; the newest word counts.

It stands beside the consent that single posts carry: a withdrawal keeps every row of the person
out of what is made from then on, whatever the rows themselves say.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.contracts.values import PersonKind
from shared.db.audit import audit
from shared.db.tables import Consent

MAX_WORDS = 100


async def record_consent(
    session: AsyncSession,
    *,
    project_id: int,
    kind: PersonKind,
    person: str,
    said: Mapping[str, bool],
    actor: str,
) -> list[Consent]:
    """One new row per purpose, in the order of the purposes' names; `person` is a pseudonym."""
    words = [
        Consent(
            project_id=project_id,
            kind=kind,
            person=person,
            purpose=purpose,
            granted=granted,
        )
        for purpose, granted in sorted(said.items())
    ]
    session.add_all(words)
    await session.flush()
    audit(
        session,
        "consent.record",
        actor=actor,
        target=f"{kind}:{person}",
        project_id=project_id,
        detail=dict(sorted(said.items())),
    )
    return words


async def read_consents(
    session: AsyncSession, project_id: int, kind: PersonKind, person: str
) -> Sequence[Consent]:
    """What the person said, newest first, at most 100 words."""
    statement = (
        select(Consent)
        .where(
            col(Consent.project_id) == project_id,
            col(Consent.kind) == kind,
            col(Consent.person) == person,
        )
        .order_by(col(Consent.created_at).desc(), col(Consent.id).desc())
        .limit(MAX_WORDS)
    )
    return (await session.scalars(statement)).all()
