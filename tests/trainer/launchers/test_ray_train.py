"""A run on a Ray cluster of two nodes, one of which is killed while it trains."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.proxies import free_port
from support.tiny_bert import save_tiny_bert

from services.trainer.config import LauncherKind
from services.trainer.launchers.launching import Unit, launcher_of
from shared.contracts.training import RunKind
from shared.db.tables import TrainingRun
from shared.jobs import claim, enqueue

pytest.importorskip("ray.train", reason='NO RAY: `make test-ray`, or pip install "heed-rlhf[ray]"')

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WITHIN_S = 300


@pytest.fixture
def cluster(as_settings) -> Iterator[object]:
    """A head that computes nothing, and two nodes of two cores, all with the test's settings."""
    from ray.cluster_utils import Cluster

    bounds = {"object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **bounds})
    for _ in range(2):
        made.add_node(num_cpus=2, **bounds)
    made.wait_for_nodes()
    yield made
    made.shutdown()


@pytest.fixture
def job_server(as_settings, monkeypatch) -> Iterator[str]:
    """The address of a cluster of one node that takes jobs, with the test's settings."""
    from ray.cluster_utils import Cluster

    here = str(Path(sys.executable).parent)  # a job says `python`, as its node knows it
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")  # noqa: TID251
    port = free_port()
    head = {"num_cpus": 4, "object_store_memory": 100 << 20, "include_dashboard": True}
    made = Cluster(initialize_head=True, head_node_args=head | {"dashboard_port": port})
    yield f"http://127.0.0.1:{port}"
    made.shutdown()


@pytest.fixture
async def claimed(sessions, insert, polite, tmp_path: Path) -> TrainingRun:
    """A run of some hundred steps, as the worker claims it."""
    await insert(*polite(95))
    recipe = {
        "base_model": str(save_tiny_bert(tmp_path / "tiny bert")), "epochs": 30, "batch_size": 2,
        "max_tokens": 24, "head_first": False, "evaluations_per_epoch": 1, "patience": 99,
        "logging_steps": 1, "save_steps": 5,
    }  # fmt: skip
    async with sessions.begin() as session:
        await enqueue(
            session, TrainingRun, kind=RunKind.REWARD_TRANSFORMER, params={"recipe": recipe}
        )
    async with sessions.begin() as session:
        return await claim(session, TrainingRun, queues=["cpu"], owner="test", lease_s=WITHIN_S)


@pytest.fixture
def reached(sessions) -> Callable[[TrainingRun, int], object]:
    """Waits until a run has done so many steps; the step it is at."""

    async def wait(run: TrainingRun, step: int) -> int:
        async with asyncio.timeout(WITHIN_S):
            while True:
                async with sessions() as session:
                    now = (await session.get_one(TrainingRun, run.id)).progress.get("step", 0)
                if now >= step:
                    return int(now)
                await asyncio.sleep(0.1)

    return wait


async def test_a_run_is_submitted_as_a_job_and_its_driver_trains_it(
    sessions, start, job_server, claimed, monkeypatch
):
    monkeypatch.setenv("HEED_LAUNCHER", "ray")
    monkeypatch.setenv("HEED_LAUNCH_RAY", job_server)

    async with asyncio.timeout(WITHIN_S):
        ending = await (await start(claimed)).wait()

    async with sessions() as session:
        run = await session.get_one(TrainingRun, claimed.id)
    assert (ending, run.status, run.error) == (0, "succeeded", None)


async def test_a_node_that_dies_costs_the_run_some_steps_and_nothing_else(
    settings, sessions, cluster, claimed, reached
):
    settings = settings.model_copy(
        update={
            "launcher": LauncherKind.RAY,
            "launch_ray": cluster.address,
            "launch_processes": 2,
        }
    )
    launcher = launcher_of(settings)
    unit = Unit.of_run(claimed.id, claimed.attempt)
    training = asyncio.create_task(asyncio.to_thread(launcher.launch, unit))

    progress = asyncio.create_task(reached(claimed, 20))
    await asyncio.wait({training, progress}, return_when=asyncio.FIRST_COMPLETED)
    assert not training.done(), "it ended before a node could be killed"
    killed_at = await progress
    last = cluster.list_all_nodes()[-1]
    await asyncio.to_thread(cluster.remove_node, last, allow_graceful=False)
    async with asyncio.timeout(WITHIN_S):
        ending = await training

    async with sessions() as session:
        run = await session.get_one(TrainingRun, claimed.id)
    assert killed_at < 450, "it was killed while it trained"
    assert (ending, run.status, run.attempt) == (0, "succeeded", 1)
