"""Datasets of sealed rows."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.trainer.snapshots import freeze_feedback
from shared.config import Settings
from shared.db.tables import Dataset, Feedback, InteractionRecord
from shared.errors import KeyMissing
from shared.privacy.fields import FieldCipher, destroy_person_keys, open_cipher
from shared.privacy.keyring import new_master_key
from shared.privacy.resealing import seal_stored

Sessions = async_sessionmaker[AsyncSession]
CANDIDATES = [{"id": "x", "text": "one"}, {"id": "y", "text": "two"}]


@pytest.fixture
def cipher(sessions: Sessions) -> FieldCipher:
    return open_cipher(Settings(encryption="on", encryption_keys=new_master_key()), sessions)


async def frozen(sessions: Sessions, freezing: Any) -> Dataset:
    async with sessions.begin() as session:
        return await freeze_feedback(session, freezing)


@pytest.fixture
async def posts(insert: Any, feedback: Any, preference: Any) -> int:
    """Posts of every kind that a dataset holds, one of them on a recorded interaction."""
    recorded = {"interaction_id": "int_1", "user_query": None, "agent_response": None}
    rows = [
        *(feedback(rating=1 + i % 5) for i in range(9)),
        feedback(corrected_response="better", clinician_id=None),
        feedback(**recorded, rating=5),
        preference(),
        preference(outcome="ranking", candidates=CANDIDATES, ranking=["y", "x"]),
    ]
    interaction = InteractionRecord(
        interaction_id="int_1",
        user_prompt="recorded",
        ai_response="answered",
        consent_training=True,
    )
    await insert(*rows, interaction)
    return len(rows)


async def test_sealed_rows_freeze_to_the_same_bytes_as_plain_ones(
    sessions, freezing, posts, cipher
):
    plain = await frozen(sessions, freezing)
    await seal_stored(sessions, cipher)

    sealed = await frozen(sessions, replace(freezing, cipher=cipher))

    assert sealed.sha256 == plain.sha256
    assert sealed.rows == plain.rows == posts


async def test_rows_of_a_destroyed_key_are_left_out(sessions, freezing, posts, cipher):
    await seal_stored(sessions, cipher)
    async with sessions.begin() as session:
        first = select(col(Feedback.clinician_id)).where(col(Feedback.rating) == 1).limit(1)
        gone = await session.scalar(first)
        assert await destroy_person_keys(session, 1, [gone]) == 1
    cipher.forget()

    dataset = await frozen(sessions, replace(freezing, cipher=cipher))

    assert dataset.rows == posts - 1


async def test_sealed_rows_are_never_trained_on_as_they_lie(sessions, freezing, posts, cipher):
    await seal_stored(sessions, cipher)

    with pytest.raises(KeyMissing):
        await frozen(sessions, freezing)
