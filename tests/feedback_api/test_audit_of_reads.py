"""An entry on a read names rows by their ids; what else a caller wrote into a URL is not kept."""

from typing import Any

import pytest

from shared.db.tables import AuditEntry

BODY = {"prompt": "p", "response": "r", "rating": 4, "session_id": "s-1"}


@pytest.fixture
def reads(rows):
    """The entries on reads, as they are stored."""

    async def read() -> list[tuple[str, Any]]:
        entries = [entry for entry in await rows(AuditEntry) if entry.action == "rows.read"]
        return [(entry.target, entry.detail) for entry in entries]

    return read


async def test_filters_are_kept_when_they_are_ids_or_numbers(client, reads):
    params = {"session_id": "s-1", "since": "2026-01-31T12:00:00Z", "limit": 5}

    await client.get("/feedback", params=params)

    kept = {"session_id": "s-1", "since": "2026-01-31T12:00:00Z", "limit": "5"}
    assert await reads() == [("/feedback", {"query": kept})]


async def test_what_is_no_filter_is_not_kept(client, reads):
    params = {"clinician_id": "patient-1", "ann@clinic.test": "1", "limit": 5}

    reply = await client.get("/feedback", params=params)

    assert reply.status_code == 200
    assert await reads() == [("/feedback", {"query": {"limit": "5"}})]


@pytest.mark.parametrize("text", ["Ann Miller", "ann@clinic.test", "Müller", "x" * 129])
async def test_a_filter_that_is_no_id_is_kept_by_its_name_alone(client, reads, text):
    reply = await client.get("/feedback", params={"session_id": text})

    assert reply.status_code == 200
    assert await reads() == [("/feedback", {"query": {"session_id": "(not an id)"}})]


async def test_a_path_that_is_no_id_is_kept_as_its_template(client, reads):
    await client.get("/interactions/Ann Miller/steps")
    await client.post("/feedback", json=BODY | {"feedback_id": "of ann@clinic.test"})
    await client.get("/feedback/of ann@clinic.test")
    await client.post("/feedback", json=BODY | {"feedback_id": "fb/1"})
    await client.get("/feedback/fb/1")

    targets = [target for target, _ in await reads()]
    assert targets == [
        "/interactions/{interaction_id}/steps",
        "/feedback/{feedback_id}",
        "/feedback/fb/1",
    ]
