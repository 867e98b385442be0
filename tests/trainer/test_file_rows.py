"""What is trained on from a file that Heed wrote still belongs to the people whose posts it was."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete
from sqlmodel import col

from services.feedback_api.erasure import ErasurePolicy, Person, erase_person
from services.trainer.erasure_jobs import work_off_one
from services.trainer.execution import train_here
from services.trainer.prepare import export_preferences
from services.trainer.snapshots import freeze_feedback, load_dataset
from services.trainer.workplace import open_workplace
from shared.contracts.training import RunKind, TrainingRequest
from shared.contracts.values import PersonKind
from shared.db.tables import Dataset, Preference


@pytest.fixture
async def file(sessions, freezing, insert, polite, tmp_path: Path) -> Path:
    """The preferences file of what polite people said, the first of whom is `r_a`."""
    rows = polite(80)
    rows[0].clinician_id = "r_a"
    await insert(*rows)
    async with sessions.begin() as session:
        frozen = await freeze_feedback(session, freezing)
    export_preferences(load_dataset(frozen, freezing.store), tmp_path / "own.jsonl")
    return tmp_path / "own.jsonl"


@pytest.fixture
def train_on(settings):
    """Trains on a file; the dataset that was made of it."""

    async def train(path: Path) -> Dataset:
        request = TrainingRequest(kind=RunKind.REWARD_EMBEDDING, dataset_file=str(path))
        url = settings.database_url.get_secret_value()
        finished = await asyncio.to_thread(train_here, settings, url, request)
        async with open_workplace(settings, url) as workplace, workplace.sessions() as session:
            return await session.get_one(Dataset, finished.version.dataset_id)

    return train


def lines_of(settings: Any, dataset: Dataset) -> list[dict[str, Any]]:
    path = settings.data_dir / "artifacts" / dataset.uri.removeprefix("artifact://")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_an_erasure_reaches_what_was_trained_on_from_a_file(settings, file, train_on):
    dataset = await train_on(file)
    before = lines_of(settings, dataset)
    url = settings.database_url.get_secret_value()

    async with open_workplace(settings, url) as workplace:
        async with workplace.sessions.begin() as session:
            policy = ErasurePolicy(retrains=False, days=30)
            person = Person(1, PersonKind.RATER, "r_a")
            await erase_person(session, person, actor="me", policy=policy)
        assert await work_off_one(workplace)
        async with workplace.sessions() as session:
            rewritten = await session.get_one(Dataset, dataset.id)

    assert (dataset.rows, rewritten.rows) == (80, 79)
    assert len(lines_of(settings, rewritten)) == len(before) - 1
    assert rewritten.previous_sha256 == [dataset.sha256]


async def test_lines_whose_posts_are_gone_are_left_out(settings, sessions, file, train_on):
    async with sessions.begin() as session:
        await session.execute(delete(Preference).where(col(Preference.clinician_id) == "r_a"))

    dataset = await train_on(file)

    assert (dataset.rows, dataset.filters["left_out"]) == (79, 1)
    assert all(":" not in row for line in lines_of(settings, dataset) for row in line["row_ids"])


async def test_a_file_from_elsewhere_stays_as_it_is(settings, file, train_on, tmp_path):
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["metadata"]["row_ids"] = [str(uuid4())]
    same = {"prompt": "Nothing to choose?", "chosen": "a", "rejected": "a", "split": "test"}
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text("".join(json.dumps(line) + "\n" for line in [*lines, same]))

    dataset = await train_on(foreign)

    assert (dataset.rows, dataset.filters["left_out"]) == (0, 0)
    assert all(line["row_ids"][0].startswith("line:") for line in lines_of(settings, dataset))
