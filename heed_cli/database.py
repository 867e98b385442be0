"""How commands speak to the database: in one transaction, on the schema of this code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncSession

from shared.config import Settings
from shared.db import migrate
from shared.db.connect import database
from shared.db.engine import create_engine, create_sessions
from shared.db.faults import reaching_database
from shared.errors import SchemaOutdated

T = TypeVar("T")


def in_transaction(
    url: str, work: Callable[[AsyncSession], Awaitable[T]], *, on_any_schema: bool = False
) -> T:
    """What `work` returns, run in one transaction that commits when it succeeds.

    Raises:
        HeedError: the database cannot be reached, its schema is not current, or `work` refused.
    """

    async def run() -> T:
        async with transaction(url, on_any_schema=on_any_schema) as session:
            return await work(session)

    return asyncio.run(run())


def with_session(settings: Settings, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Like `in_transaction`, on the deployment's own database."""
    with database(settings) as url:
        return in_transaction(url, work)


@asynccontextmanager
async def transaction(url: str, *, on_any_schema: bool = False) -> AsyncIterator[AsyncSession]:
    """One transaction on an engine of its own; normally only on this code's schema."""
    engine = create_engine(url)
    try:
        with reaching_database():
            if not on_any_schema:
                await migrate.require_current(engine)
            async with create_sessions(engine).begin() as session:
                yield session
    finally:
        await engine.dispose()


def upgrade(url: str) -> str:
    """Migrate to the newest schema; what was done, in words.

    Raises:
        HeedError: the database cannot be reached, or was migrated by a newer Heed.
    """
    with reaching_database():
        before = migrate.current(url)
        migrate.upgrade(url)
    return f"at {before}" if before == migrate.head() else f"{before or 'new'} → {migrate.head()}"


def require_known(revision: str | None) -> None:
    """Refuse the data of a newer Heed before any of it is stored.

    Raises:
        SchemaOutdated: this code has no migration of that name.
    """
    scripts = ScriptDirectory.from_config(migrate.config()).walk_revisions()
    if revision not in {script.revision for script in scripts}:
        raise SchemaOutdated(
            f"The backup is at schema {revision}, which this Heed does not know: install the "
            "version that made it, or a newer one."
        )
