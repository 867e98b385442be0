"""Two real reward models that disagree, a registry to promote them in, and a served app."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.reward_service.app import create_app
from services.reward_service.batcher import Batcher
from services.reward_service.config import RewardSettings
from services.reward_service.metrics import ServingMetrics
from services.reward_service.waiting import Limits
from services.trainer.examples import PreferencePair, RewardDataset
from services.trainer.recipes import embedding_reward
from shared import keys, registry
from shared.artifacts import FolderStore
from shared.db.tables import ModelVersion
from shared.ml.artifact import load_scorer
from shared.registry import NewVersion
from tests.support.held_engine import HeldEngine

SECRET = "a secret that is long enough for tests"
KIND = "Rest, drink water and call your doctor if the fever lasts more than three days."
RUDE = "Stop whining, nobody has time for your silly questions."
PROMPT = "I have had a fever since yesterday, what should I do?"


def _pair(number: int, chosen: str, rejected: str) -> PreferencePair:
    draw = random.Random(number)
    topic = draw.choice(["sleep", "fever", "a cough", "back pain", "my diet", "stress"])
    place = draw.choice(["at home", "at work", "on a trip", "in winter", "after lunch"])
    ending = f"It is about {topic} {place}, case {number}."
    return PreferencePair(
        f"What can I do about {topic} {place}? Case {number}.",
        f"{chosen} {ending}",
        f"{rejected} {ending}",
        group=str(number),
        row_ids=(str(number),),
    )


def _train(folder: Path, chosen: str, rejected: str) -> Path:
    pairs = [_pair(number, chosen, rejected) for number in range(40)]
    dataset = RewardDataset(pairs[:30], pairs[30:], [], [], snapshot_hash="0" * 64)
    params = embedding_reward.EmbeddingParams(min_rated=20, lexical=False)
    embedding_reward.train(
        dataset,
        params,
        output=folder,
        secret=SECRET.encode(),
        progress=lambda *_: None,
        code_version="test",
    )
    return folder


@pytest.fixture(scope="session")
def kind_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that prefers kind responses."""
    return _train(tmp_path_factory.mktemp("models") / "kind", KIND, RUDE)


@pytest.fixture(scope="session")
def rude_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that prefers rude responses."""
    return _train(tmp_path_factory.mktemp("models") / "rude", RUDE, KIND)


@pytest.fixture(scope="session")
def both_models(kind_model: Path, rude_model: Path) -> tuple[Path, Path]:
    """The artifacts that will be versions 1 and 2."""
    return kind_model, rude_model


@dataclass(frozen=True)
class Deployment:
    """A migrated database, an artifact store and what is needed to serve from them."""

    settings: RewardSettings
    sessions: async_sessionmaker[AsyncSession]

    async def key(self, *scopes: str, project_id: int = 1) -> str:
        """A new API key's token."""
        async with self.sessions.begin() as session:
            return await keys.create_key(session, name="test", scopes=scopes, project_id=project_id)

    async def register(self, folder: Path, name: str = "reward") -> ModelVersion:
        """Store an artifact and register it as the next version."""
        store = FolderStore(self.settings.artifacts)
        uri, sha256 = await asyncio.to_thread(store.put_folder, folder)
        new = NewVersion(kind="embedding", sha256=sha256, uri=uri, metrics={}, name=name)
        async with self.sessions.begin() as session:
            return await registry.register_version(session, new)

    async def promote(self, version: ModelVersion, alias: str = "champion") -> None:
        """Let an alias mean a version, without a gate."""
        async with self.sessions.begin() as session:
            await registry.promote(session, version.id, alias=alias, reason="a test")


@pytest.fixture
def deployment(
    database_url: str, sessions: async_sessionmaker[AsyncSession], tmp_path: Path
) -> Deployment:
    """A deployment without any model."""
    settings = RewardSettings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        secret_key=SECRET,
        reward_workers=2,
        reward_engine="fitted",  # the same numbers on every machine
        reward_poll_s=0.2,
    )
    return Deployment(settings, sessions)


@pytest.fixture
async def live_kind(deployment: Deployment, kind_model: Path) -> ModelVersion:
    """The promoted version 1, which prefers kind responses."""
    version = await deployment.register(kind_model)
    await deployment.promote(version)
    return version


@pytest.fixture(scope="session")
def kind_scorer(kind_model: Path) -> Callable[[str, Sequence[str]], list[float]]:
    """Raw rewards of the kind model in this process, without any service."""
    scorer = load_scorer(kind_model, secret=SECRET.encode())
    return lambda prompt, texts: scorer.rerank_scores(prompt, texts).reward.tolist()


@asynccontextmanager
async def serving(settings: RewardSettings) -> AsyncIterator[str]:
    """The URL of the reward service, served by uvicorn on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(settings), log_config=None, lifespan="on", ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await task


class Served:
    """A client of a served deployment."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.get, self.post = http.get, http.post
        self.http = http

    async def rerank(self, *documents: str, query: str = PROMPT, **more: object) -> httpx.Response:
        """The reply to `/rerank`."""
        return await self.post("/rerank", json={"query": query, "documents": documents, **more})

    async def live_version(self) -> int | None:
        """The version that is live now."""
        model = (await self.get("/models/live")).json()["model"]
        return model and model["version"]

    async def until_live(self, version: int) -> None:
        """Wait until a version is live."""
        async with asyncio.timeout(60):
            while await self.live_version() != version:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve(deployment: Deployment) -> Serve:
    """Serves the deployment, with changed settings if need be, to a client that may score."""

    @asynccontextmanager
    async def client(**changed: object) -> AsyncIterator[Served]:
        settings = deployment.settings.model_copy(update=changed)
        headers = {"Authorization": f"Bearer {await deployment.key('score')}"}
        async with (
            serving(settings) as url,
            httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http,
        ):
            yield Served(http)

    return client


class Sample(NamedTuple):
    """Texts on which the two models disagree."""

    prompt: str = PROMPT
    kind: str = KIND
    rude: str = RUDE


@pytest.fixture
def sample() -> Sample:
    """A prompt with a kind and a rude response."""
    return Sample()


@pytest.fixture
def engine() -> HeldEngine:
    """An engine that waits for the test's word."""
    return HeldEngine()


@pytest.fixture
def counts() -> CollectorRegistry:
    """What the batcher counts in."""
    return CollectorRegistry()


@pytest.fixture
async def batcher(engine: HeldEngine, counts: CollectorRegistry) -> AsyncIterator[Batcher]:
    """One thread and a queue of 5,000 tokens before the held engine."""
    limits = Limits(workers=1, batch_tokens=1000, queue_tokens=5000)
    opened = Batcher(limits, ServingMetrics(counts))
    yield opened
    engine.go.set()
    await asyncio.to_thread(opened.close)
