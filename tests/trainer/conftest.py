"""Rows for the trainer's tests, made with as few words as a test needs."""

import asyncio
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel
from typer.testing import CliRunner, Result

from heed_cli.main import app
from services.trainer.config import TrainerSettings
from services.trainer.placing import Splitting
from services.trainer.snapshots import Freezing
from shared.artifacts import FolderStore
from shared.config import Settings
from shared.contracts.values import Outcome
from shared.db.tables import Feedback, Preference, TrainingRun
from shared.privacy.fields import open_cipher

SECRET = b"a secret for the tests, long enough."
REACHED_WITHIN_S = 300
_numbers = count()


def _feedback(**given: Any) -> Feedback:
    """A consented post of feedback; every post has a target of its own unless one is given."""
    number = next(_numbers)
    values = {
        "feedback_id": f"fb_{number}",
        "target": f"target {number}",
        "clinician_id": f"r_{number}",
        "user_query": f"What is {number}?",
        "agent_response": f"It is {number}.",
        "consent_training": True,
    }
    return Feedback(**values | given)


def _preference(**given: Any) -> Preference:
    """A consented comparison, response a preferred unless another outcome is given."""
    number = next(_numbers)
    values = {
        "preference_id": f"pref_{number}",
        "target": f"target {number}",
        "clinician_id": f"r_{number}",
        "prompt": f"What is {number}?",
        "response_a": f"It is {number}.",
        "response_b": "I do not know.",
        "outcome": Outcome.A,
        "consent_training": True,
    }
    values |= given
    preferred = values["outcome"] if values["outcome"] in ("a", "b") else None
    return Preference(**values, preferred=preferred)


@pytest.fixture
def feedback() -> Callable[..., Feedback]:
    return _feedback


@pytest.fixture
def preference() -> Callable[..., Preference]:
    return _preference


@pytest.fixture
def insert(sessions: async_sessionmaker[AsyncSession]) -> Callable[..., Awaitable[None]]:
    """Commit some rows."""

    async def insert_rows(*rows: SQLModel) -> None:
        async with sessions.begin() as session:
            session.add_all(rows)

    return insert_rows


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


@pytest.fixture
def freezing(store: FolderStore, sessions: async_sessionmaker[AsyncSession]) -> Freezing:
    return Freezing(store, SECRET, Splitting(0.2), open_cipher(Settings(), sessions))


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> TrainerSettings:
    return TrainerSettings(
        data_dir=tmp_path,
        database_url=SecretStr(database_url),
        secret_key=SecretStr(SECRET.decode()),
        min_rated=10,
    )


TOPICS = ["tea", "fever", "neurons", "rain", "trains", "poems", "salt", "bridges"]


@pytest.fixture
def polite() -> Callable[..., list[Preference]]:
    """Comparisons in which polite responses beat rude ones, whichever is the longer one."""

    def rows(count: int = 120, *, outcome: str = "a") -> list[Preference]:
        return [
            _preference(
                prompt=f"What about {TOPICS[at % len(TOPICS)]}, case {at}?",
                response_a=f"Gladly: here is {TOPICS[at % len(TOPICS)]}."
                + " And so on." * (at % 3),
                response_b="Nobody cares, go away." + " And so on." * (at // 3 % 3),
                outcome=outcome,
            )
            for at in range(count)
        ]

    return rows


@pytest.fixture
def as_settings(settings, monkeypatch) -> None:
    """What is started here finds the test's settings in its environment."""
    monkeypatch.setenv("HEED_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("HEED_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("HEED_SECRET_KEY", settings.secret_key.get_secret_value())
    monkeypatch.setenv("HEED_MIN_RATED", str(settings.min_rated))


@pytest.fixture
def invoke(as_settings) -> Callable[..., Awaitable[Result]]:
    """Runs a command as `heed` does, in a thread of its own: commands start their own loop."""

    async def command(*words: object) -> Result:
        ended = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
        if ended.exception and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        assert ended.exit_code == 0, ended.output
        return ended

    return command


@pytest.fixture
async def start_worker(as_settings) -> AsyncIterator[Callable[[], Awaitable[Process]]]:
    """Starts `python -m services.trainer` on the test's database."""
    started: list[Process] = []

    async def start() -> Process:
        started.append(await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.trainer",
        ))  # fmt: skip
        return started[-1]

    yield start
    for worker in started:
        with suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()


@pytest.fixture
def reached(sessions) -> Callable[..., Awaitable[TrainingRun]]:
    """Waits until a run is as it should be; gives it."""

    async def wait(run_id: object, condition: Callable[[TrainingRun], bool]) -> TrainingRun:
        async with asyncio.timeout(REACHED_WITHIN_S):
            while True:
                async with sessions() as session:
                    run = await session.get_one(TrainingRun, run_id)
                if condition(run):
                    return run
                await asyncio.sleep(0.05)

    return wait
