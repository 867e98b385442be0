"""A real Postgres for every test that wants one: embedded, or the one of HEED_DATABASE_URL."""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

import shared
from shared.db import embedded
from shared.db.engine import create_engine, create_sessions

REPOSITORY = Path(shared.__file__).parents[1]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server on which tests may create databases."""
    given = os.environ.get("HEED_DATABASE_URL")  # noqa: TID251 - the entry point of the tests
    if given:
        yield given
        return
    major = int(os.environ.get("HEED_TEST_POSTGRES_MAJOR", "18"))  # noqa: TID251
    data_dir = tmp_path_factory.mktemp("postgres")
    with _stopped_whatever_happens(data_dir):
        yield embedded.start(data_dir, major=major).url()


@contextmanager
def _stopped_whatever_happens(data_dir: Path) -> Iterator[None]:
    """A watcher stops the server when our end of its pipe closes, be it because we were killed."""
    watch = (
        "import sys, pathlib; from shared.db import embedded; sys.stdin.read(); "
        "embedded.stop(pathlib.Path(sys.argv[1]), mode='immediate')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", watch, str(data_dir)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ):
        yield


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> AsyncIterator[str]:
    """The name of a database at the newest migration; nobody connects to it, it is cloned."""
    from shared.db.migrate import upgrade

    async with _database(postgres_url) as url:
        await asyncio.to_thread(upgrade, url)
        yield make_url(url).database or ""


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """The URL of a fresh database with all tables and no rows."""
    async with _database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions on the fresh database."""
    engine = create_engine(database_url)
    yield create_sessions(engine)
    await engine.dispose()


@asynccontextmanager
async def _database(server_url: str, template: str = "template1") -> AsyncIterator[str]:
    name = f"heed_test_{secrets.token_hex(8)}"
    await _execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        url = make_url(server_url).set(database=name)
        yield url.render_as_string(hide_password=False)
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
