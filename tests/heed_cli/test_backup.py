"""A backup restores the whole deployment, or says in one line why it does not."""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator

import asyncpg
import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from heed_cli.archive import new_archive
from heed_cli.database import in_transaction
from heed_cli.sample import load_sample
from shared.artifacts import FolderStore
from shared.db import embedded
from shared.db.columns import metadata


def contents(url: str) -> dict[str, list[str]]:
    """Every row of every table, as text."""

    async def read(session):
        found = {t.name: await session.execute(select(t)) for t in metadata.sorted_tables}
        return {name: sorted(map(str, rows)) for name, rows in found.items()}

    return in_transaction(url, read)


@pytest.fixture
def kept(heed):
    """A deployment with a key in its database, which runs, and a stored artifact."""
    heed.done("migrate")
    embedded.start(heed.data_dir)  # once, instead of for each command
    heed.done("keys", "create", "web-app")
    (heed.home / "model").write_bytes(b"weights" * 1000)
    store = FolderStore(heed.data_dir / "artifacts")
    uri = store.put_file(heed.home / "model", "models")
    (heed.data_dir / "artifacts" / ".partial" / "half").mkdir(parents=True)
    (heed.data_dir / "artifacts" / ".partial" / "half" / "written").write_text("x")
    return heed, uri


def test_a_restored_deployment_has_the_same_rows_artifacts_and_secret(kept, other):
    heed, uri = kept
    file = heed.home / "my backup.tar"
    heed.done("backup", file)

    other.done("restore", file)

    rows = []
    for one in (heed, other):
        url = embedded.start(one.data_dir).url()
        rows.append(contents(url))
    assert rows[0] == rows[1]
    assert "web-app" in rows[1]["rlhf_api_keys"][0]
    stored = FolderStore(other.data_dir / "artifacts").path(uri)
    assert stored.read_bytes() == b"weights" * 1000
    assert [path.name for path in other.data_dir.rglob("written")] == []
    secret = (other.data_dir / "secret.key").read_text()
    assert secret == (heed.data_dir / "secret.key").read_text()
    assert (other.data_dir / "secret.key").stat().st_mode & 0o777 == 0o600
    assert other.data_dir.stat().st_mode & 0o007 == 0


def test_a_folder_in_use_is_not_restored_into(kept):
    heed, _ = kept
    heed.done("backup", "b.tar")

    assert "is in use" in heed.refused("restore", "b.tar")
    assert "web-app" in heed.done("keys", "list")


def test_a_damaged_backup_changes_nothing_and_a_whole_one_works_afterwards(kept, other):
    heed, _ = kept
    heed.done("backup", "b.tar")
    whole = (heed.home / "b.tar").read_bytes()
    (other.home / "cut.tar").write_bytes(whole[: len(whole) // 2])
    changed = bytearray(whole)
    changed[20_000] ^= 1
    (other.home / "changed.tar").write_bytes(changed)

    assert "not a whole backup" in other.refused("restore", "cut.tar")
    assert "not a whole backup" in other.refused("restore", "changed.tar")
    assert list(other.data_dir.iterdir()) == []
    other.done("restore", heed.home / "b.tar")


def test_a_restore_that_was_killed_starts_over(kept, other):
    heed, _ = kept
    heed.done("backup", "b.tar")
    (other.data_dir / "restore.partial").mkdir(parents=True)
    (other.data_dir / "artifacts").mkdir()
    (other.data_dir / "artifacts" / "half").write_text("x")

    assert "did not finish: run it again" in other.refused("up")
    other.done("restore", heed.home / "b.tar")
    assert not (other.data_dir / "artifacts" / "half").exists()


def test_a_backup_without_the_secret_needs_the_right_one(kept, other):
    heed, _ = kept
    heed.done("backup", "b.tar", "--no-secret-key")
    file, secret = heed.home / "b.tar", (heed.data_dir / "secret.key").read_text()
    assert secret.encode() not in file.read_bytes()

    assert "without its secret key" in other.refused("restore", file)
    wrong = {"HEED_SECRET_KEY": "x" * 64}
    assert "is not the one of this backup" in other.refused("restore", file, **wrong)
    other.done("restore", file, HEED_SECRET_KEY=secret)


def test_a_backup_of_a_newer_version_is_refused_before_anything_is_stored(heed):
    with new_archive(heed.home / "b.tar") as archive:
        archive.finish({"schema": "9999", "secret_fingerprint": "", "made_at": "", "postgres": 18})

    assert "schema 9999, which this Heed does not know" in heed.refused("restore", "b.tar")
    assert list(heed.data_dir.iterdir()) == []


def test_a_backup_that_cannot_be_written_leaves_nothing(kept):
    heed, _ = kept

    said = heed.refused("backup", "/proc/b.tar")

    assert "/proc/b.tar cannot be written" in said
    assert sorted(path.name for path in heed.home.iterdir()) == ["data dir", "model"]


@pytest.fixture
def servers(postgres_url) -> Iterator[list[str]]:
    """The URLs of two empty databases on the server of the tests."""
    names = [f"heed_test_{secrets.token_hex(8)}" for _ in range(2)]
    execute(postgres_url, *(f'CREATE DATABASE "{name}"' for name in names))
    urls = [make_url(postgres_url).set(database=name) for name in names]
    yield [url.render_as_string(hide_password=False) for url in urls]
    execute(postgres_url, *(f'DROP DATABASE "{name}" WITH (FORCE)' for name in names))


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def tables(url: str) -> list[str]:
    async def read() -> list[str]:
        connection = await asyncpg.connect(url)
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
        await connection.close()
        return [row["tablename"] for row in found]

    return asyncio.run(read())


def test_a_database_server_is_restored_into_an_empty_database_only(servers, heed, other):
    source, target = ({"HEED_DATABASE_URL": url} for url in servers)
    heed.done("migrate", **source)
    heed.done("keys", "create", "web-app", **source)
    heed.done("backup", "b.tar", **source)

    assert "has tables" in other.refused("restore", heed.home / "b.tar", **source)
    other.done("restore", heed.home / "b.tar", **target)
    assert contents(servers[0]) == contents(servers[1])


def test_a_load_that_fails_leaves_an_empty_database_and_can_be_tried_again(kept, servers, other):
    heed, uri = kept
    heed.done("backup", "b.tar")
    target = {"HEED_DATABASE_URL": servers[0]}
    execute(servers[0], "CREATE VIEW chat_feedback AS SELECT 1")  # pg_restore meets it late

    assert "pg_restore failed" in other.refused("restore", heed.home / "b.tar", **target)

    assert tables(servers[0]) == []
    assert "did not finish: run it again" in other.refused("up", **target)
    execute(servers[0], "DROP VIEW chat_feedback")
    other.done("restore", heed.home / "b.tar", **target)
    assert "web-app" in other.done("keys", "list", **target)
    assert FolderStore(other.data_dir / "artifacts").path(uri).exists()
    assert list(other.data_dir.glob("restore.*")) == []


def test_a_restore_that_was_killed_after_the_load_goes_on(kept, servers, other):
    heed, uri = kept
    heed.done("backup", "b.tar")
    target = {"HEED_DATABASE_URL": servers[0]}
    code = (
        "import os, heed_cli.backup as b; from heed_cli.main import main\n"
        "b.upgrade = lambda url: os.kill(os.getpid(), 9)\n"
        f"main(['restore', {str(heed.home / 'b.tar')!r}])"
    )
    assert other.run([sys.executable, "-P", "-c", code], **target).returncode == -9
    (heed.home / "cut.tar").write_bytes((heed.home / "b.tar").read_bytes()[:9000])

    assert "not a whole backup" in other.refused("restore", heed.home / "cut.tar", **target)
    assert "did not finish: run it again" in other.refused("up", **target)
    heed.done("keys", "create", "later")
    heed.done("backup", "later.tar")
    assert "has tables" in other.refused("restore", heed.home / "later.tar", **target)
    other.done("restore", heed.home / "b.tar", **target)

    listed = other.done("keys", "list", **target)
    assert "web-app" in listed
    assert "later" not in listed
    assert FolderStore(other.data_dir / "artifacts").path(uri).exists()
    secret = (other.data_dir / "secret.key").read_text()
    assert secret == (heed.data_dir / "secret.key").read_text()
    assert list(other.data_dir.glob("restore.*")) == []


@pytest.mark.slow
def test_a_restored_deployment_serves_the_same_scores(heed, other):
    heed.done("up")
    feedback_api = address(heed, "feedback_api")
    with client(heed) as http:
        for row in load_sample()[:150]:
            body = {name: value for name, value in row.items() if name not in ("kind", "batch")}
            assert http.post(f"{feedback_api}/{row['kind']}", json=body).is_success
    heed.done("train", "embedding", "--mode", "original", HEED_GATE="not_worse")
    heed.done("models", "promote", "1", "--reason", "to be restored")
    scores = scored(heed)
    heed.done("backup", "b.tar")

    other.done("restore", heed.home / "b.tar")
    other.done("up")

    assert len(set(scores)) == 5
    assert scored(other) == scores


def client(heed) -> httpx.Client:
    token = (heed.data_dir / "dev.key").read_text().strip()
    return httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)


def address(heed, service: str) -> str:
    states = json.loads(heed.done("status", "--json"))
    return next(state["url"] for state in states if state["name"] == service)


def scored(heed) -> list[float]:
    """The raw rewards of a few responses, once the live model is loaded."""
    inputs = [
        {"prompt": "What lowers blood pressure?", "response": f"Salt, {n}."} for n in range(5)
    ]
    reward_service = address(heed, "reward_service")
    with client(heed) as http:
        for _ in range(300):
            reply = http.post(
                f"{reward_service}/score", json={"inputs": inputs, "return": ["raw"]}
            ).json()
            if reply["model"]:
                return [result["raw"] for result in reply["results"]]
            time.sleep(0.2)
    pytest.fail("No model went live.")
