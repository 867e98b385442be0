"""Rows for the trainer's tests, made with as few words as a test needs."""

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import SQLModel

from services.trainer.snapshots import Freezing
from shared.artifacts import FolderStore
from shared.contracts.values import Outcome
from shared.db.tables import Feedback, Preference

SECRET = b"a secret for the tests, long enough."
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
def freezing(store: FolderStore) -> Freezing:
    return Freezing(store, SECRET, test_share=0.2)
