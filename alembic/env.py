"""How Alembic reaches the database: the connection of `shared.db.migrate`, or one of its own."""

import asyncio
import re

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.base import ischema_names

from shared.config import Settings, load_settings
from shared.db import tables
from shared.db.columns import Xid8
from shared.db.connect import resolve_database_url
from shared.db.engine import create_single_engine

ischema_names["xid8"] = Xid8  # so that a comparison recognises the columns it reads back
MONTHLY = re.compile(r"_(default|\d{4}_\d{2})$")
LOCK_TIMEOUT = "5s"


def include_object(
    _object: object, name: str | None, kind: str, _reflected: bool, _compared: object
) -> bool:
    """Everything but partitions, which the database makes by itself."""
    return kind != "table" or MONTHLY.search(name or "") is None


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.SQLModel.metadata,
        include_object=include_object,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    url = resolve_database_url(load_settings(Settings))
    engine = create_single_engine(url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    asyncio.run(connect_and_migrate())
