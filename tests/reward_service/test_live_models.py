"""What happens to requests while models come, go and break, and while Postgres is away."""

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from shared.artifacts import FolderStore
from shared.db.tables import ModelAlias


async def test_a_promotion_is_heard_without_waiting_for_the_next_poll(
    serve, deployment, kind_model
):
    version = await deployment.register(kind_model)
    async with serve(reward_poll_s=3600) as client:
        before = await client.live_version()
        await asyncio.sleep(0.5)  # until the listener is connected
        await deployment.promote(version)
        await client.until_live(1)

    assert before is None


async def test_a_lost_notification_is_made_good_by_polling(serve, deployment, kind_model):
    version = await deployment.register(kind_model)
    moved = ModelAlias(name=version.name, alias="champion", version_id=version.id)

    async with serve() as client:
        before = await client.live_version()
        await asyncio.sleep(0.5)  # until the listener is connected, which looks once more
        async with deployment.sessions.begin() as session:
            session.add(moved)  # the row alone; nobody is notified
        await client.until_live(1)
        reply = await client.rerank("a", "b")

    assert before is None
    assert reply.json()["model"]["version"] == 1


async def test_no_request_fails_and_no_reply_mixes_versions_while_models_are_swapped(
    serve, deployment, both_models, sample
):
    versions = [await deployment.register(folder) for folder in both_models]
    await deployment.promote(versions[0])
    replies: list[httpx.Response] = []
    is_over = asyncio.Event()

    async def keep_asking(client) -> None:
        while not is_over.is_set():
            replies.append(await client.rerank(*[sample.rude, sample.kind] * 5))

    async with serve() as client:
        await client.until_live(1)
        askers = [asyncio.create_task(keep_asking(client)) for _ in range(4)]
        for promotion in range(1, 7):
            await deployment.promote(versions[promotion % 2])
            await client.until_live(1 + promotion % 2)
        is_over.set()
        await asyncio.gather(*askers)

    assert {reply.status_code for reply in replies} == {200}
    seen = {reply.json()["model"]["version"] for reply in replies}
    best_first = {1: [1, 3, 5, 7, 9], 2: [0, 2, 4, 6, 8]}
    assert seen == {1, 2}
    assert [
        reply.json()
        for reply in replies
        if [result["index"] for result in reply.json()["results"]][:5]
        != best_first[reply.json()["model"]["version"]]
    ] == []


async def test_a_replaced_model_is_freed(serve, deployment, both_models, sample, watched_models):
    versions = [await deployment.register(folder) for folder in both_models]
    async with serve() as client:
        for version in versions:
            await deployment.promote(version)
            await client.until_live(version.version)
            await client.rerank(sample.kind)
        gc.collect()

        assert [reference() is None for reference in watched_models] == [True, False]


@pytest.fixture
def watched_models(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref]:
    """Weak references to every scorer the service loads."""
    from services.reward_service import lifespan, loading

    seen: list[weakref.ref] = []

    def load(*args, **kwargs):
        loaded = loading.load_version(*args, **kwargs)
        seen.append(weakref.ref(loaded.scorer))
        return loaded

    monkeypatch.setattr(lifespan, "load_version", load)
    return seen


def _damage_head(folder: Path) -> None:
    (folder / "head.safetensors").write_bytes(b"not a head")


def _damage_manifest(folder: Path) -> None:
    (folder / "reward_model.json").write_text("{}")


@pytest.mark.parametrize("damage", [_damage_head, _damage_manifest, shutil.rmtree])
async def test_a_broken_artifact_leaves_the_old_model_serving_and_is_told(
    serve, deployment, both_models, sample, damage: Callable[[Path], None]
):
    good, broken = [await deployment.register(folder) for folder in both_models]
    await deployment.promote(good)
    damage(FolderStore(deployment.settings.artifacts).path(broken.uri))
    async with serve() as client:
        await client.until_live(1)
        await deployment.promote(broken)
        async with asyncio.timeout(20):
            while not (await client.get("/models/live")).json()["last_error"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        reply = await client.rerank(sample.rude, sample.kind)
        ready = await client.get("/readyz?require=model")
        pinned = await client.rerank("a", model="reward@2")

    assert reply.json()["model"]["version"] == 1
    assert reply.json()["results"][0]["index"] == 1
    assert (ready.status_code, ready.json()["model"]) == (200, "reward@1")
    assert ready.json()["last_error"]
    assert (pinned.status_code, pinned.json()["code"]) == (500, "artifact_error")


async def test_a_first_model_that_is_broken_is_a_fallback_not_a_500(serve, deployment, kind_model):
    broken = await deployment.register(kind_model)
    _damage_head(FolderStore(deployment.settings.artifacts).path(broken.uri))
    await deployment.promote(broken)

    async with serve() as client:
        reply = await client.rerank("a", "b")

    assert (reply.status_code, reply.json()["fallback"]) == (200, True)
    assert "cannot be loaded" in reply.json()["reason"]


async def test_the_models_asked_for_longest_ago_make_room(
    serve, deployment, kind_model, rude_model
):
    for folder in (kind_model, rude_model, kind_model):
        await deployment.promote(await deployment.register(folder))
    async with serve(reward_loaded_models=2) as client:
        for name in ("reward@1", "reward@2"):
            await client.rerank("a", model=name)
        loaded = (await client.get("/models/live")).json()["loaded"]

    assert {model["reference"] for model in loaded} == {"reward:champion", "reward@2"}


async def test_projects_without_a_model_push_no_model_out_of_memory(serve, deployment, live_kind):
    async with serve(reward_loaded_models=2) as client:
        await client.rerank("a", model="reward@1")
        own = client.http.headers["Authorization"]
        for project_id in (2, 3):
            key = await deployment.key("score", project_id=project_id)
            client.http.headers["Authorization"] = f"Bearer {key}"
            assert (await client.rerank("a")).json()["fallback"] is True
        client.http.headers["Authorization"] = own
        loaded = (await client.get("/models/live")).json()["loaded"]

    assert {model["reference"] for model in loaded} == {"reward:champion", "reward@1"}


async def test_a_retired_version_does_not_serve(serve, deployment, kind_model):
    version = await deployment.register(kind_model)
    async with deployment.sessions.begin() as session:
        row = await session.merge(version)
        row.retired_at = row.created_at

    async with serve() as client:
        reply = await client.rerank("a", model="reward@1")

    assert reply.status_code == 404


async def test_readiness_knows_a_service_without_a_model(serve):
    async with serve() as client:
        await client.rerank("a")
        ready = await client.get("/readyz")
        with_model = await client.get("/readyz", params={"require": "model"})

    assert (ready.status_code, ready.json()["model"]) == (200, "none")
    assert (with_model.status_code, with_model.json()["code"]) == (503, "no_model")


class Gateway:
    """A TCP door to Postgres that can be shut, so that the test alone loses its database."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.is_open = True
        self.writers: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        host, port = self.target
        opened = (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        far_reader, far_writer = await opened
        self.writers |= {writer, far_writer}
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    def shut(self) -> None:
        """Drop every connection and refuse new ones."""
        self.is_open = False
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.close()


@asynccontextmanager
async def gateway_to(url: str) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway and the database's URL through it."""
    parsed = make_url(url)
    host = str(parsed.query.get("host", parsed.host))
    port = int(str(parsed.query.get("port", parsed.port or 5432)))
    gateway = Gateway(host, port)
    server = await asyncio.start_server(gateway.connect, "127.0.0.1", 0)
    door = server.sockets[0].getsockname()[1]
    through = parsed.set(host="127.0.0.1", port=door, query={})
    try:
        yield gateway, through.render_as_string(hide_password=False)
    finally:
        gateway.shut()
        server.close()


async def test_while_postgres_is_away_the_live_model_serves_from_memory(
    serve, deployment, live_kind, sample
):
    async with (
        gateway_to(deployment.settings.database_url.get_secret_value()) as (door, url),
        serve(database_url=SecretStr(url)) as client,
    ):
        await client.until_live(1)
        await asyncio.sleep(0.5)  # the listener connects, which forgets the keys
        await client.until_live(1)
        door.shut()
        await asyncio.sleep(0.5)  # the poll finds nobody
        reply = await client.rerank(sample.rude, sample.kind)
        ready = await client.get("/readyz")
        stranger = {"Authorization": "Bearer heed_abc_d"}
        unknown_key = await client.get("/models/live", headers=stranger)
        not_in_memory = await client.rerank("a", model="reward@7")

    assert (reply.status_code, reply.json()["model"]["version"]) == (200, 1)
    assert (ready.status_code, ready.json()["database"]) == (200, "unreachable")
    assert (unknown_key.status_code, unknown_key.json()["code"]) == (503, "database_unavailable")
    assert (not_in_memory.status_code, not_in_memory.headers["retry-after"]) == (503, "2")


async def test_a_service_started_without_postgres_waits_for_it(
    serve, deployment, live_kind, sample
):
    async with gateway_to(deployment.settings.database_url.get_secret_value()) as (door, url):
        door.is_open = False
        async with serve(database_url=SecretStr(url)) as client:
            await asyncio.sleep(0.3)
            away = await client.get("/readyz")
            alive = await client.get("/healthz")
            door.is_open = True
            async with asyncio.timeout(30):
                while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            reply = await client.rerank(sample.rude, sample.kind)

    assert (away.status_code, alive.status_code) == (503, 200)
    assert away.json()["code"] == "database_unavailable"
    assert reply.json()["model"]["version"] == 1
