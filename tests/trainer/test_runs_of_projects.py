"""Two projects of one deployment: what a run of either reads and leaves behind."""

import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlmodel import col

from services.trainer.execution import work_on
from services.trainer.lines import rows_of
from services.trainer.snapshots import read_lines
from shared import jobs, registry
from shared.artifacts import FolderStore
from shared.contracts.training import RunKind
from shared.db.tables import (
    Dataset,
    Lineage,
    ModelVersion,
    Preference,
    Project,
    TrainingRun,
)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A child of the worker minds SIGTERM; the tests' process must not go on doing so."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
async def projects(sessions, insert, polite) -> tuple[int, int]:
    """Two projects, each with comparisons of its own."""
    second = Project(name="second")
    await insert(second)
    for project_id, count in ((1, 40), (second.id, 60)):
        posts = polite(count)
        for post in posts:
            post.project_id = project_id
        await insert(*posts)
    return 1, second.id


@pytest.fixture
def train(sessions, settings):
    """Trains a model for a project, as a worker's child does; the run's row afterwards."""
    url = settings.database_url.get_secret_value()

    async def trained(project_id: int) -> TrainingRun:
        async with sessions.begin() as session:
            await jobs.enqueue(
                session, TrainingRun, kind=RunKind.REWARD_EMBEDDING, params={},
                project_id=project_id,
            )  # fmt: skip
        async with sessions.begin() as session:
            run = await jobs.claim(session, TrainingRun, queues=["cpu"], owner="here")
        work_on(settings, url, run.id, run.attempt)
        async with sessions() as session:
            return await session.get(TrainingRun, run.id)

    return trained


async def test_a_run_learns_from_the_rows_of_its_project_alone(sessions, settings, projects, train):
    for project_id in projects:
        run = await train(project_id)

        async with sessions() as session:
            dataset = await session.get(Dataset, run.dataset_id)
            ours = col(Preference.project_id) == project_id
            written = set(await session.scalars(select(col(Preference.id)).where(ours)))
        lines = read_lines(dataset, FolderStore(settings.artifacts))
        assert {row for line in lines for row in rows_of(line)} == set(map(str, written))
        assert dataset.rows == len(written)


async def test_what_a_run_leaves_behind_is_of_its_project(sessions, settings, projects, train):
    for project_id in projects:
        run = await train(project_id)

        async with sessions() as session:
            version = await session.get(ModelVersion, run.model_version_id)
            dataset = await session.get(Dataset, run.dataset_id)
            edge = (
                await session.scalars(
                    select(Lineage).where(col(Lineage.child) == f"model:{version.id}")
                )
            ).one()
            live = await registry.champion(session, project_id=project_id)
        assert {dataset.project_id, version.project_id, edge.project_id} == {project_id}
        assert edge.parent == f"dataset:{dataset.id}"
        for uri in (dataset.uri, version.uri):
            assert uri.startswith(f"artifact://{project_id}/")
        assert version.version == 1
        assert live is None or live.id == version.id


async def test_the_runs_of_a_project_are_listed_for_who_names_it(sessions, projects, invoke):
    async with sessions.begin() as session:
        asked = [
            await jobs.enqueue(session, TrainingRun, kind="sft", params={}, project_id=project_id)
            for project_id in projects
        ]

    listed = [(await invoke("train", "runs", "--project", one)).stdout for one in projects]

    assert [[str(run_id) in told for run_id in asked] for told in listed] == [
        [True, False],
        [False, True],
    ]
