"""The serving benchmark in its smallest size: what must hold at any speed holds here too."""

import asyncio
import statistics
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.serving import long
from benchmarks.serving.long import Sizes
from benchmarks.serving.place import Deployment, reward_service
from benchmarks.serving.rows import Side, sides
from benchmarks.serving.soak import Sample, growth
from benchmarks.serving.texts import LONGEST, SHORTEST, Texts
from shared.db.engine import create_engine, create_sessions
from shared.keys import create_key

SECRET = "a secret that is long enough for tests"
SMALL = Sizes(
    overload_s=1,
    around_s=0.5,
    around_clients=4,
    swaps=4,
    kills=3,
    kill_every_s=0.2,
    soak_minutes=0.05,
    questions=60,
)


@dataclass(frozen=True)
class Served:
    """A running service with two versions to promote."""

    deployment: Deployment
    side: Side
    versions: list[uuid.UUID]

    async def measure(self, part: long.Part) -> dict:
        """What one part of the benchmark finds."""
        await self.deployment.promote(self.versions[0])
        return await asyncio.to_thread(part, self.deployment, self.side, self.versions, SMALL)


@pytest.fixture(scope="module")
async def served(
    module_database_url: str,
    both_models: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    engine = create_engine(module_database_url)
    async with create_sessions(engine).begin() as session:
        token = await create_key(session, name="test", scopes=["score"], project_id=1)
    await engine.dispose()
    folder = tmp_path_factory.mktemp("served")
    deployment = Deployment(module_database_url, folder, token, SECRET)
    versions = [await deployment.register(model) for model in both_models]
    with reward_service(deployment) as server:
        yield Served(deployment, sides(deployment, server, None)["ours"], versions)


@pytest.mark.slow
async def test_overload_gives_scores_or_a_time_to_come_back(served):
    found = await served.measure(long.overload)

    for kind in found.values():
        assert (kind["anything_else"], kind["refusals_without_retry_after"]) == ({}, 0)
        assert kind["failed_around"] == 0
    assert found["no_deadline"]["statuses"]["200"] > 0


@pytest.mark.slow
async def test_no_reply_fails_or_mixes_versions_while_they_swap(served):
    found = await served.measure(long.swap)

    assert (found["replies"]["failed"], found["replies"]["mixed"]) == (0, 0)
    assert found["replies"]["right"] > SMALL.swaps


@pytest.mark.slow
async def test_nobody_hangs_when_scoring_threads_die(served):
    found = await served.measure(long.kill)

    assert found["statuses"].keys() <= {"200", "503"}
    assert found["workers_replaced"] >= 1
    assert (found["failed_after"], found["requests_per_s_after"] > 0) == (0, True)


@pytest.mark.slow
async def test_a_soak_loses_no_request_and_no_file_handle(served):
    found = await served.measure(long.soak)

    assert found["requests"] > 0
    assert found["failed"] == 0
    assert found["growth"]["file_handles"] <= 1.1


def test_growth_is_the_last_quarter_by_the_second():
    memory = [500, 900, 100, 100, 105, 95, 110, 120, 130, 120, 120, 120]
    samples = [Sample(at, rss, 40, 2.0, 8.0, 10, 0, 0.0) for at, rss in enumerate(memory)]

    assert growth(samples) == {"rss_mb": 1.2, "file_handles": 1, "p50_ms": 1, "p99_ms": 1}


def test_texts_are_as_long_as_asked_and_never_the_same():
    texts = Texts(1)
    documents = texts.documents(400)

    sizes = texts.count(documents)
    assert len(set(documents)) == 400
    assert statistics.mean(sizes) == pytest.approx(60, abs=5)
    assert (min(sizes) >= SHORTEST, max(sizes) <= LONGEST + 5) == (True, True)
    assert texts.count([texts.query()])[0] in range(20, 27)
