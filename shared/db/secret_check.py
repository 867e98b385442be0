"""One database belongs to one secret: the first one that is used on it."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from shared.db.tables import Project
from shared.errors import ConfigError

FIRST_PROJECT = 1


async def claim_or_refuse(sessions: async_sessionmaker[AsyncSession], fingerprint: bytes) -> None:
    """Keep the fingerprint of the secret at first use, compare it ever after.

    Under another secret every rater would become somebody else, unnoticed.

    Raises:
        ConfigError: the database was first used with another secret.
    """
    known = select(col(Project.secret_fingerprint)).where(col(Project.id) == FIRST_PROJECT)
    claim = update(Project).where(
        col(Project.id) == FIRST_PROJECT, col(Project.secret_fingerprint).is_(None)
    )
    async with sessions.begin() as session:
        if await session.scalar(known) is None:
            await session.execute(claim.values(secret_fingerprint=fingerprint))
        if await session.scalar(known) != fingerprint:
            raise ConfigError(
                "This database belongs to another HEED_SECRET_KEY or `secret.key`: put back the "
                "one it was first used with, or set HEED_DATABASE_URL to another database."
            )
