"""A data folder that an older Heed left comes to this one's schema and keeps its rows."""

import asyncio

import asyncpg

from heed_cli.database import in_transaction
from shared.db import embedded, migrate, views

VIEWS = "SELECT viewname FROM pg_views WHERE schemaname = 'public'"


def at_rest(heed, statement: str) -> list[str]:
    """The first column of what a statement returns, in a database that is stopped afterwards."""

    async def run(url: str) -> list[str]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(statement)
        await connection.close()
        return [row[0] for row in rows]

    try:
        return asyncio.run(run(embedded.start(heed.data_dir).url()))
    finally:
        embedded.stop(heed.data_dir)


def test_a_folder_whose_database_has_no_tables_yet_is_migrated(heed):
    assert at_rest(heed, VIEWS) == []

    said = heed.done("migrate")

    assert f"new → {migrate.head()}" in said
    assert {"rlhf_interactions", "chat_feedback"} <= set(at_rest(heed, VIEWS))


def test_up_renews_outdated_views_and_keeps_every_row(heed):
    heed.done("migrate")
    heed.done("keys", "create", "web-app")
    at_rest(heed, "DROP VIEW chat_feedback")
    at_rest(heed, "DROP VIEW rlhf_interactions")

    heed.done("up")

    url = embedded.attach(heed.data_dir).url()

    async def installed(session):
        return await (await session.connection()).run_sync(views.installed)

    assert in_transaction(url, installed) == views.FINGERPRINT
    assert "web-app" in heed.done("keys", "list")
    heed.done("down")
    assert {"rlhf_interactions", "chat_feedback"} <= set(at_rest(heed, VIEWS))
