"""What the reward service reads from Postgres."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.reward_service.references import Reference
from shared import registry
from shared.db.faults import reaching_database
from shared.db.tables import ModelVersion
from shared.errors import NotFound


async def find_version(
    sessions: async_sessionmaker[AsyncSession], reference: Reference
) -> ModelVersion | None:
    """The version a reference means now, or None; a retired one must not serve, so it is none.

    Raises:
        DatabaseUnavailable: Postgres cannot be reached.
    """
    with reaching_database():
        async with sessions() as session:
            try:
                found = await registry.find_version(
                    session,
                    reference.selector,
                    name=reference.name,
                    project_id=reference.project_id,
                )
            except NotFound:
                return None
    return None if found.retired_at else found
