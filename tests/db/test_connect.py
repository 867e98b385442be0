"""A process finds its database: the one it is given, else the one of its data dir."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from shared.config import Settings, load_settings
from shared.db import embedded
from shared.db.connect import resolve_database_url
from shared.errors import DatabaseUnavailable


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data dir whose Postgres is stopped afterwards."""
    yield tmp_path
    embedded.stop(tmp_path, mode="immediate")


def test_a_given_url_wins(tmp_path: Path):
    url = "postgresql://someone@example.test/db"
    settings = load_settings(Settings, data_dir=tmp_path, database_url=url)

    assert resolve_database_url(settings) == url


def test_without_a_server_it_says_what_to_run(tmp_path: Path):
    settings = load_settings(Settings, data_dir=tmp_path, database_url=None)

    with pytest.raises(DatabaseUnavailable, match="run `heed up`, or set HEED_DATABASE_URL"):
        resolve_database_url(settings)


async def test_a_started_server_is_found_by_the_next_process(data_dir: Path):
    settings = load_settings(Settings, data_dir=data_dir, database_url=None)

    started = resolve_database_url(settings, start=True)

    assert resolve_database_url(settings) == started
    connection = await asyncpg.connect(started)
    assert await connection.fetchval("SELECT current_user") == "heed"
    await connection.close()
