"""Writes events to the outbox, in the transaction that makes them true."""

from sqlalchemy.ext.asyncio import AsyncSession

from shared.contracts.values import Event
from shared.db.columns import Json
from shared.db.tables import Outbox


def announce(session: AsyncSession, event: Event, payload: Json, *, project_id: int = 1) -> None:
    """Add one event to the session; `payload` names rows by id and never holds a text."""
    session.add(Outbox(project_id=project_id, event=event, payload=payload))
