"""One served model for all dialects, and the native reply to compare theirs with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from services.reward_service.config import RewardSettings
from shared.db.engine import create_engine, create_sessions
from tests.conftest import fresh_database
from tests.reward_service.conftest import KIND, PROMPT, RUDE, SECRET, Deployment, Served, serving

TEXTS = [RUDE, KIND, "Drink water.", KIND]


class Number(NamedTuple):
    """What the service itself says of a response."""

    score: float
    raw: float


class Live(NamedTuple):
    """A service with a live model: its address, a key, a client, and its own numbers."""

    url: str
    key: str
    client: Served
    own: list[Number]

    @property
    def scores(self) -> list[float]:
        """The score of each of `TEXTS` as a response to `PROMPT`, 0-1."""
        return [number.score for number in self.own]

    @property
    def raws(self) -> list[float]:
        """The raw rewards."""
        return [number.raw for number in self.own]

    @property
    def order(self) -> list[int]:
        """Indices of `TEXTS`, the best first."""
        return sorted(range(len(TEXTS)), key=lambda at: (-self.raws[at], at))

    async def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        """The reply to a body."""
        return await self.client.post(path, json=body, headers=headers)


@pytest.fixture(scope="session")
async def live(
    postgres_url: str,
    template_database: str,
    kind_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Live]:
    """The kind model, live for everybody's tests; none of them changes anything."""
    folder = tmp_path_factory.mktemp("dialects")
    async with fresh_database(postgres_url, template=template_database) as database_url:
        engine = create_engine(database_url)
        settings = RewardSettings(
            data_dir=folder, database_url=database_url, secret_key=SECRET, reward_workers=2
        )
        deployment = Deployment(settings, create_sessions(engine))
        await deployment.promote(await deployment.register(kind_model))
        key = await deployment.key("score")
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            serving(settings) as url,
            httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http,
        ):
            client = Served(http)
            await client.until_live(1)
            yield Live(url, key, client, await _own(client))
        await engine.dispose()


async def _own(client: Served) -> list[Number]:
    inputs = [{"prompt": PROMPT, "response": text} for text in TEXTS]
    reply = await client.post("/score", json={"inputs": inputs, "return": ["raw"]})
    return [Number(result["score"], result["raw"]) for result in reply.json()["results"]]


@pytest.fixture
def near() -> Callable[[object], object]:
    """Equal but for what another batch may change."""
    return lambda value: pytest.approx(value, abs=1e-5)


@pytest.fixture
def aside() -> Callable[..., Awaitable[object]]:
    """Runs a client that blocks without blocking the service, which is in this event loop."""
    return asyncio.to_thread
