"""Who may do what: tokens, scopes, projects, revocation."""

import secrets
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from shared.db.tables import Feedback, Project
from shared.keys import Scope, create_key, revoke_key

BODY = {"prompt": "p", "response": "r", "rating": 4}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer heed_abc_def"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_a_post_without_a_valid_key_is_refused(client: httpx.AsyncClient, rows, headers):
    reply = await client.post("/feedback", json=BODY, headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert await rows(Feedback) == []


async def test_a_key_with_one_wrong_letter_is_refused(client, token):
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")

    reply = await client.post("/feedback", json=BODY, headers=bearer(wrong))

    assert reply.status_code == 401


async def test_the_key_may_come_as_x_api_key(client, token):
    del client.headers["Authorization"]

    reply = await client.post("/feedback", json=BODY, headers={"X-API-Key": token})

    assert reply.status_code == 201


async def test_a_key_without_the_scope_is_told_which(client, shared_sessions, project, rows):
    async with shared_sessions.begin() as session:
        reader = await create_key(
            session, name="reader", scopes=[Scope.FEEDBACK_READ], project_id=project
        )

    reply = await client.post("/feedback", json=BODY, headers=bearer(reader))

    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert "feedback:write" in reply.json()["detail"]
    assert await rows(Feedback) == []


async def test_an_expired_key_is_refused(client, shared_sessions, project):
    async with shared_sessions.begin() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        old = await create_key(
            session, name="old", scopes=list(Scope), expires_at=past, project_id=project
        )

    reply = await client.post("/feedback", json=BODY, headers=bearer(old))

    assert reply.status_code == 401


async def test_a_key_revoked_elsewhere_is_refused_soon(
    client, shared_sessions, project, eventually
):
    async with shared_sessions.begin() as session:
        other = await create_key(session, name="other", scopes=list(Scope), project_id=project)
    assert (await client.get("/feedback", headers=bearer(other))).status_code == 200

    async with shared_sessions.begin() as session:
        await revoke_key(session, other.split("_")[1], project_id=project)

    async def is_refused() -> bool:
        return (await client.get("/feedback", headers=bearer(other))).status_code == 401

    assert await eventually(is_refused)


async def test_an_admin_makes_lists_rotates_and_revokes_keys(client):
    made = (await client.post("/keys", json={"name": "app", "scopes": ["feedback:read"]})).json()
    rotated = (await client.post(f"/keys/{made['public_id']}/rotate")).json()
    listed = (await client.get("/keys")).json()

    statuses = [
        (await client.get("/feedback", headers=bearer(key["token"]))).status_code
        for key in (made, rotated)
    ]
    assert statuses == [401, 200]
    assert {key["public_id"] for key in listed} >= {made["public_id"], rotated["public_id"]}
    assert "secret" not in str(listed)
    revoked = await client.delete(f"/keys/{rotated['public_id']}")
    assert revoked.json()["revoked_at"] is not None
    again = await client.get("/feedback", headers=bearer(rotated["token"]))
    assert again.status_code == 401


async def test_a_revoked_key_cannot_be_rotated_and_an_unknown_one_is_not_found(client):
    made = (await client.post("/keys", json={"name": "app", "scopes": ["score"]})).json()
    await client.delete(f"/keys/{made['public_id']}")

    rotated = await client.post(f"/keys/{made['public_id']}/rotate")
    unknown = await client.delete("/keys/0123456789ab")

    assert (rotated.status_code, unknown.status_code) == (409, 404)


async def test_a_scope_that_does_not_exist_is_refused(client):
    reply = await client.post("/keys", json={"name": "app", "scopes": ["everything"]})

    assert reply.status_code == 422
    assert "feedback:write" in reply.json()["detail"]


async def test_a_key_sees_only_its_own_project(client, shared_sessions):
    async with shared_sessions.begin() as session:
        second = Project(name=secrets.token_hex(8))
        session.add(second)
        await session.flush()
        other = await create_key(session, name="other", scopes=list(Scope), project_id=second.id)
    stored = (await client.post("/feedback", json=BODY | {"feedback_id": "fb_1"})).json()

    listed = await client.get("/feedback", headers=bearer(other))
    read = await client.get(f"/feedback/{stored['feedback_id']}", headers=bearer(other))
    same_id = await client.post(
        "/feedback", json=BODY | {"feedback_id": "fb_1"}, headers=bearer(other)
    )

    assert listed.json()["items"] == []
    assert read.status_code == 404
    assert same_id.status_code == 201


async def test_a_rotated_key_goes_on_for_its_overlap_and_no_longer(client, shared_sessions):
    made = (await client.post("/keys", json={"name": "app", "scopes": ["feedback:read"]})).json()
    public_id = made["public_id"]
    rotated = await client.post(f"/keys/{public_id}/rotate", params={"overlap_s": 3600})

    statuses = [
        (await client.get("/feedback", headers=bearer(token))).status_code
        for token in (made["token"], rotated.json()["token"])
    ]
    listed = {key["public_id"]: key for key in (await client.get("/keys")).json()}
    left = datetime.fromisoformat(listed[public_id]["expires_at"]) - datetime.now(UTC)

    assert statuses == [200, 200]
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert listed[rotated.json()["public_id"]]["expires_at"] is None


async def test_an_overlap_never_lengthens_the_life_of_a_key(client):
    soon = datetime.now(UTC) + timedelta(minutes=5)
    body = {"name": "app", "scopes": ["score"], "expires_at": soon.isoformat()}
    made = (await client.post("/keys", json=body)).json()

    await client.post(f"/keys/{made['public_id']}/rotate", params={"overlap_s": 3600})

    listed = {key["public_id"]: key for key in (await client.get("/keys")).json()}
    assert datetime.fromisoformat(listed[made["public_id"]]["expires_at"]) == soon
