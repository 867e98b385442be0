"""Bring a database to this code's schema, and refuse one that is not there.

The migrations (`alembic/`) hold tables and data. Views, functions and triggers are code: when
anything changes they are dropped first and installed last, so that no view stands in the way of
a column, and the history trigger always copies the columns that exist.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import views
from shared.db.engine import create_single_engine
from shared.db.faults import reaching_database
from shared.errors import ConfigError, DatabaseUnavailable, SchemaOutdated

T = TypeVar("T")

_OLDEST_POSTGRES = 16
_LOCK_KEY = 0x68656564  # "heed": one migration at a time, whoever starts it
_LOCK_TIMEOUT = "5s"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to a revision, in one transaction; any number may call at once.

    Raises:
        SchemaOutdated: the database is at a revision this code does not know.
        ConfigError: Postgres is too old, or the role may not create tables.
        DatabaseUnavailable: it cannot be reached, or somebody holds a table for too long.
    """
    asyncio.run(_run(url, lambda connection: _upgrade(connection, revision)))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to a revision; `base` drops every table of Heed and its rows.

    Views and triggers are gone afterwards; `heed migrate` of the code of that revision, or of
    this one, brings its own. Raises what `upgrade` raises.
    """
    asyncio.run(_run(url, lambda connection: _downgrade(connection, revision)))


def current(url: str) -> str | None:
    """The database's revision; None before the first migration."""
    return asyncio.run(_run(url, _revision))


def head() -> str:
    """The revision this code needs."""
    newest = ScriptDirectory.from_config(config()).get_current_head()
    if newest is None:
        raise ConfigError("This installation holds no migrations: reinstall Heed.")
    return newest


async def require_current(engine: AsyncEngine) -> None:
    """Refuse to work on a database that is not at this code's revision.

    Raises:
        SchemaOutdated: it needs `heed migrate`, or was migrated by a newer Heed.
        DatabaseUnavailable: it cannot be reached.
    """
    async with _connected(engine) as connection:
        found = await connection.run_sync(_revision)
        has_views = await connection.run_sync(views.installed) is not None
    _refuse_unknown(found)
    if found != head():
        raise SchemaOutdated(
            f"The database is at revision {found or 'none'}, this Heed needs {head()}: "
            "run `heed migrate`."
        )
    if not has_views:
        raise SchemaOutdated(
            "The database has Heed's tables without its views and triggers: run `heed migrate`."
        )


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings for the migrations: beside this file in a wheel, else the checkout's."""
    packaged = Path(__file__).parent / "migrations"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "alembic"
    settings = Config()
    settings.set_main_option("script_location", str(folder).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


async def _run(url: str, work: Callable[[Connection], T]) -> T:
    engine = create_single_engine(url)
    try:
        async with _connected(engine) as connection, connection.begin():
            with _refusals_explained():
                return await connection.run_sync(work)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        with reaching_database():
            connection = await engine.connect()
    except (DBAPIError, asyncpg.PostgresError) as error:
        reason = type(getattr(error, "orig", None) or error).__name__
        raise DatabaseUnavailable(
            f"Postgres refuses the connection ({reason}): check HEED_DATABASE_URL."
        ) from None
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def _refusals_explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        cause = getattr(error.orig, "__cause__", None)
        if isinstance(cause, asyncpg.LockNotAvailableError):
            raise DatabaseUnavailable(
                f"Somebody held a table for over {_LOCK_TIMEOUT}, nothing was changed: "
                "run `heed migrate` again when long transactions have ended."
            ) from None
        if isinstance(cause, asyncpg.InsufficientPrivilegeError):
            raise ConfigError(
                "The database role may not change the schema: grant it CREATE on the schema and "
                "ownership of Heed's tables, or migrate as the owner."
            ) from None
        raise


def _upgrade(connection: Connection, revision: str) -> None:
    _refuse_old_postgres(connection)
    _wait_for_turn(connection)
    wanted = head() if revision == "head" else revision
    found = _revision(connection)
    _refuse_unknown(found)
    if found != wanted or views.installed(connection) != views.FINGERPRINT:
        views.remove(connection)
        command.upgrade(config(connection), revision)
        if wanted == head():
            views.install(connection)
    if wanted == head():
        views.ensure_partitions(connection)


def _downgrade(connection: Connection, revision: str) -> None:
    _wait_for_turn(connection)
    views.remove(connection)
    command.downgrade(config(connection), revision)


def _wait_for_turn(connection: Connection) -> None:
    """Queue up behind another migration, but never behind a long transaction of anybody else."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock($1)", (_LOCK_KEY,))
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unknown(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaOutdated(
            f"The database is at revision {found}, which this Heed does not know: "
            "install the version of Heed that migrated it, or a newer one."
        )


def _refuse_old_postgres(connection: Connection) -> None:
    number = connection.exec_driver_sql("SELECT current_setting('server_version_num')::int")
    major = int(number.scalar_one()) // 10_000
    if major < _OLDEST_POSTGRES:
        raise ConfigError(f"This is Postgres {major}; Heed needs {_OLDEST_POSTGRES} or newer.")
