"""The one way to reach Postgres: an async engine and its sessions, or one raw connection.

asyncpg itself reads the URL, so whatever libpq knows works in it: `sslmode=verify-full`,
`sslrootcert=…`, several hosts, a socket's folder as `host`.
"""

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import NullPool

CONNECT_TIMEOUT_S = 10
_DRIVER = "postgresql+asyncpg://"


def raw_url(url: str) -> str:
    """The URL as libpq and asyncpg take it; `postgres://`, a driver's name and `ssl=` too."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql")
    if (mode := parsed.query.get("ssl")) is not None:  # SQLAlchemy's word for it
        parsed = parsed.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    return parsed.render_as_string(hide_password=False)


async def connect(url: str) -> asyncpg.Connection:
    """A raw connection to the database an engine would use."""
    return await asyncpg.connect(
        raw_url(url),
        timeout=CONNECT_TIMEOUT_S,
        server_settings={"application_name": "heed"},
    )


def create_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """An engine whose connections are checked before use, so that a restart of Postgres heals."""
    return create_async_engine(
        _DRIVER,
        async_creator=lambda **_: connect(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's message must not repeat what people wrote
    )


def create_single_engine(url: str) -> AsyncEngine:
    """An engine without a pool, for one piece of work."""
    return create_async_engine(
        _DRIVER, async_creator=lambda **_: connect(url), poolclass=NullPool, hide_parameters=True
    )


def create_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions whose rows stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)
