"""A database belongs to the secret it was first used with."""

import asyncio

import pytest
from sqlalchemy import select
from sqlmodel import col

from shared.db.secret_check import claim_or_refuse
from shared.db.tables import Project
from shared.errors import ConfigError


async def test_the_first_use_stores_the_fingerprint(sessions):
    await claim_or_refuse(sessions, b"first")
    await claim_or_refuse(sessions, b"first")

    async with sessions() as session:
        stored = await session.scalars(select(col(Project.secret_fingerprint)))
        assert list(stored) == [b"first"]


async def test_another_secret_is_refused_in_one_line(sessions):
    await claim_or_refuse(sessions, b"first")

    with pytest.raises(ConfigError, match="belongs to another HEED_SECRET_KEY") as refused:
        await claim_or_refuse(sessions, b"second")

    assert "\n" not in refused.value.detail


async def test_of_two_secrets_used_at_once_one_is_refused(sessions):
    claims = (claim_or_refuse(sessions, secret) for secret in (b"one", b"two"))

    ended = await asyncio.gather(*claims, return_exceptions=True)

    assert sorted(type(end) for end in ended if end) == [ConfigError]
    assert ended.count(None) == 1
