"""Model versions and the aliases that mean them."""

import asyncio
import json

import asyncpg
import pytest
from sqlalchemy import select

from shared import registry
from shared.db.engine import raw_url
from shared.db.tables import AliasChange, AuditEntry
from shared.errors import Conflict, InvalidInput, NotFound

PASSED = {"verdict": "better", "passed": True}


async def register(sessions, **given):
    values = {"kind": "embedding", "sha256": "0" * 64, "uri": "artifact://1/models/0"}
    async with sessions.begin() as session:
        return await registry.register_version(
            session, registry.NewVersion(**values | {"metrics": {}} | given)
        )


async def promote(sessions, version, **given):
    async with sessions.begin() as session:
        await registry.promote(
            session, version.id, **{"verdict": PASSED, "changed_by": "me"} | given
        )


async def champion_number(sessions):
    async with sessions() as session:
        live = await registry.champion(session)
    return live.version if live else None


async def test_versions_count_up_even_when_many_register_at_once(sessions):
    versions = await asyncio.gather(*(register(sessions) for _ in range(6)))

    assert sorted(version.version for version in versions) == [1, 2, 3, 4, 5, 6]


async def test_each_project_and_name_counts_for_itself(sessions):
    numbers = [
        (await register(sessions, **given)).version
        for given in ({}, {"name": "other"}, {"project_id": 2}, {})
    ]

    assert numbers == [1, 1, 1, 2]


async def test_a_version_is_found_by_number_alias_and_id(sessions):
    first, second = await register(sessions), await register(sessions)
    await promote(sessions, first)

    async with sessions() as session:
        found = [
            (await registry.find_version(session, reference)).version
            for reference in (2, "1", "champion", str(second.id))
        ]
        with pytest.raises(NotFound, match="heed models list"):
            await registry.find_version(session, "challenger")
        with pytest.raises(NotFound):
            await registry.find_version(session, str(second.id), project_id=2)

    assert found == [2, 1, 1, 2]


async def test_nothing_is_live_before_the_first_promotion(sessions):
    await register(sessions)

    assert await champion_number(sessions) is None


async def test_a_promotion_is_live_recorded_audited_and_notified(sessions, database_url):
    version = await register(sessions)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(raw_url(database_url))
    await listener.add_listener(registry.CHANNEL, lambda *call: heard.put_nowait(call[3]))

    await promote(sessions, version)
    async with asyncio.timeout(10):
        payload = json.loads(await heard.get())
    await listener.close()

    assert await champion_number(sessions) == 1
    assert payload == {
        "project_id": 1, "name": "reward", "alias": "champion", "version_id": str(version.id),
    }  # fmt: skip
    async with sessions() as session:
        audited = (await session.scalars(select(AuditEntry))).one()
    assert (audited.actor, audited.action, audited.detail["version"]) == ("me", "model.promote", 1)


async def test_promoting_the_live_version_again_changes_nothing(sessions):
    version = await register(sessions)
    await promote(sessions, version)
    await promote(sessions, version)

    async with sessions() as session:
        assert len((await session.scalars(select(AliasChange))).all()) == 1


@pytest.mark.parametrize("verdict", [None, {"verdict": "worse", "passed": False}])
async def test_overriding_the_gate_needs_a_reason_which_is_kept(sessions, verdict):
    version = await register(sessions)

    with pytest.raises(InvalidInput, match="--reason"):
        await promote(sessions, version, verdict=verdict, reason="  ")
    await promote(sessions, version, verdict=verdict, reason="the old one is broken")

    async with sessions() as session:
        change = (await session.scalars(select(AliasChange))).one()
    assert change.reason == "the old one is broken"


async def test_rolling_back_walks_to_ever_earlier_versions(sessions):
    for _ in range(3):
        await promote(sessions, await register(sessions))
    steps = []
    for _ in range(2):
        async with sessions.begin() as session:
            await registry.rollback(session, changed_by="me")
        steps.append(await champion_number(sessions))

    async with sessions.begin() as session:
        with pytest.raises(Conflict, match="no version before"):
            await registry.rollback(session)
    assert steps == [2, 1]


async def test_the_list_shows_the_newest_first_with_their_aliases(sessions):
    first = await register(sessions)
    await register(sessions)
    await promote(sessions, first)

    async with sessions() as session:
        listed = await registry.list_versions(session)

    assert [(version.version, aliases) for version, aliases in listed] == [
        (2, []),
        (1, ["champion"]),
    ]
