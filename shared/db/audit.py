"""Writes the audit log: who read, exported, erased, promoted. It is append-only.

An entry is part of the transaction that does what it tells, so neither is without the other.
"""

import getpass
import os
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from shared.db.columns import Json
from shared.db.tables import AuditEntry
from shared.ids import is_plain

NO_ID = "(not an id)"


def audit(
    session: AsyncSession,
    action: str,
    *,
    actor: str,
    target: str,
    project_id: int = 1,
    detail: Json | None = None,
) -> None:
    """Add one entry to the session.

    `action` is a noun and a verb (`feedback.read`, `subject.erase`); `actor` is `key:<public id>`
    or the name of who ran a command; `target` and `detail` name rows and people by their ids and
    pseudonyms, and never hold a text.
    """
    session.add(
        AuditEntry(
            created_at=datetime.now(UTC),
            project_id=project_id,
            actor=actor,
            action=action,
            target=target,
            detail=detail or {},
        )
    )


def as_id(value: object) -> str:
    """The value as an entry may hold it: an id, a number or a time; never a name or a sentence."""
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text if is_plain(text) else NO_ID


def person_name() -> str:
    """Who runs a command on this machine, as the audit log and the run log name them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
