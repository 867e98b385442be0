"""A real Postgres for every test that wants one: embedded, or the one of HEED_DATABASE_URL."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

import shared
from shared.db import embedded
from shared.db.engine import create_engine, create_sessions

if TYPE_CHECKING:
    from tests.support.s3 import Place

REPOSITORY = Path(shared.__file__).parents[1]

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a server on which tests may create databases."""
    given = os.environ.get("HEED_DATABASE_URL")  # noqa: TID251 - the entry point of the tests
    if given:
        yield given
        return
    major = int(os.environ.get("HEED_TEST_POSTGRES_MAJOR", "18"))  # noqa: TID251
    with _removed_whatever_happens(_new_folder()) as data_dir:
        server = embedded.start(data_dir, major=major)
        _forgo_surviving_a_power_cut(server)
        yield server.url()


def _forgo_surviving_a_power_cut(server: embedded.EmbeddedPostgres) -> None:
    """Creating and dropping databases waits for the disk otherwise; a killed server still heals."""
    where = ["-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", "-d", "postgres"]
    # A database that autovacuum is in at the moment cannot be dropped by who is no superuser.
    off = b"ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET autovacuum = off; "
    statements = off + b"SELECT pg_reload_conf();"
    embedded.run_binary("psql", ["-X", *map(str, where)], major=server.major, send=statements)


@contextmanager
def _removed_whatever_happens(data_dir: Path) -> Iterator[Path]:
    """A watcher cleans up when our end of its pipe closes, be it because we were killed."""
    watch = (
        "import sys, shutil, pathlib; from shared.db import embedded; sys.stdin.read(); "
        "folder = pathlib.Path(sys.argv[1]); embedded.stop(folder, mode='immediate'); "
        "shutil.rmtree(folder)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", watch, str(data_dir)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ):
        yield data_dir


def _new_folder() -> Path:
    """Outside pytest's own folder, which every new pytest closes to the user Postgres runs as."""
    return Path(tempfile.mkdtemp(prefix="heed-test-"))


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data dir; an embedded Postgres that a test starts in it is stopped at the end."""
    folder = _new_folder()
    yield folder
    embedded.stop(folder, mode="immediate")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> AsyncIterator[str]:
    """The name of a database at the newest migration; nobody connects to it, it is cloned."""
    from shared.db.migrate import upgrade

    async with fresh_database(postgres_url) as url:
        await asyncio.to_thread(upgrade, url)
        yield make_url(url).database or ""


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """The URL of a fresh database with all tables and no rows."""
    async with fresh_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="module")
async def module_database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A fresh database for the tests of one file."""
    async with fresh_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture(scope="session")
async def shared_database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """One database for tests that keep apart by project, so that each need not clone its own."""
    async with fresh_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions on the fresh database."""
    engine = create_engine(database_url)
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    from tests.support.s3 import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def s3(s3_endpoint: str) -> "Place":
    """A bucket of the test's own."""
    from tests.support.s3 import new_place

    return new_place(s3_endpoint)


@asynccontextmanager
async def fresh_database(server_url: str, template: str = "template1") -> AsyncIterator[str]:
    """The URL of a database of the template that is dropped at the end."""
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
