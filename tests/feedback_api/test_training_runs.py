"""Training runs over HTTP: asked for, read, cancelled, resumed; no training happens here."""

import httpx
import pytest

from services.feedback_api.training_runs import require_allowed
from shared import jobs
from shared.contracts.training import TrainingRequest
from shared.contracts.values import RunStatus
from shared.db.tables import AuditEntry, ModelVersion, Project, TrainingRun
from shared.errors import InvalidInput
from shared.ids import new_id
from shared.keys import Scope, create_key

EMBEDDING = {"kind": "reward_embedding"}


@pytest.fixture
def ask(client):
    """Asks for a run; the reply."""

    async def post(headers=None, **given):
        return await client.post("/training-runs", json=EMBEDDING | given, headers=headers)

    return post


@pytest.fixture
def claim(shared_sessions, project):
    """Takes the project's next run, as a worker does."""

    async def claimed(run_id):
        async with shared_sessions.begin() as session:
            await session.execute(
                TrainingRun.__table__.update()
                .where(TrainingRun.__table__.c.id == run_id)
                .values(queue=f"of {project}")
            )
            return await jobs.claim(session, TrainingRun, queues=[f"of {project}"], owner="here:1")

    return claimed


async def test_a_run_that_is_asked_for_waits_for_a_worker_of_its_queue(ask, rows):
    reply = await ask(recipe={"seed": 3}, model_name="mine", queue="gpu", priority=4)

    (row,) = await rows(TrainingRun)
    assert reply.status_code == 201, reply.text
    assert reply.headers["Location"] == f"/training-runs/{row.id}"
    assert reply.json()["status"] == row.status == "queued"
    assert (row.kind, row.queue, row.priority) == ("reward_embedding", "gpu", 4)
    assert row.params == TrainingRequest(
        kind="reward_embedding", recipe={"seed": 3}, model_name="mine"
    ).model_dump(mode="json")
    entry = (await rows(AuditEntry))[-1]
    assert (entry.action, entry.target) == ("training_run.ask", f"training_run:{row.id}")


async def test_the_same_request_is_the_same_run_until_it_is_begun(ask, claim, rows):
    first = await ask(recipe={"seed": 3})
    again = await ask(recipe={"seed": 3}, priority=9)
    other = await ask(recipe={"seed": 4})
    await claim(first.json()["id"])
    later = await ask(recipe={"seed": 3})

    assert [reply.status_code for reply in (first, again, other, later)] == [201, 200, 201, 201]
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["priority"] == 9
    assert len(await rows(TrainingRun)) == 3


async def test_a_key_of_the_clients_own_decides_what_is_the_same(ask):
    first = await ask(recipe={"seed": 3}, dedupe_key="nightly")
    again = await ask(recipe={"seed": 4}, dedupe_key="nightly")
    other = await ask(recipe={"seed": 3})

    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_a_repeated_idempotency_key_gets_its_run_also_when_that_has_begun(ask, claim):
    key = {"Idempotency-Key": "k1"}
    first = await ask(key)
    await claim(first.json()["id"])

    again = await ask(key)
    altered = await ask(key, recipe={"seed": 9})

    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.json()["status"] == "running"
    assert (altered.status_code, altered.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"dataset_file": "own.jsonl"}, "/dataset_file"),
        ({"recipe": {"base_model": "/etc"}}, "/recipe/base_model"),
        ({"recipe": {"base_model": "models/../../etc"}}, "/recipe/base_model"),
        ({"recipe": {"population": "shares.csv"}}, "/recipe/population"),
        ({"recipe": {"rewards": [{"url": "http://a.test/s"}]}}, "/recipe/rewards/0/url"),
        ({"kind": "reward_added", "recipe": {"folder": "model"}}, "/recipe/folder"),
    ],
)
async def test_what_lies_on_the_trainers_machine_is_not_named_over_http(ask, rows, given, pointer):
    reply = await ask(**given)

    assert (reply.status_code, reply.json()["code"]) == (422, "place_not_allowed")
    assert [error["pointer"] for error in reply.json()["errors"]] == [pointer]
    assert await rows(TrainingRun) == []


@pytest.mark.parametrize("named", ["/data", "/data/tea.jsonl"])
def test_what_is_below_an_allowed_place_may_be_named(named: str):
    require_allowed(TrainingRequest(kind="reward_embedding", dataset_file=named), ["/data/"])


@pytest.mark.parametrize("named", ["/database", "/data/../etc/x", "data"])
def test_what_only_looks_like_it_may_not(named: str):
    with pytest.raises(InvalidInput, match="HEED_TRAINING_ALLOW"):
        require_allowed(TrainingRequest(kind="reward_embedding", dataset_file=named), ["/data"])


def test_names_and_hub_ids_of_models_are_no_places():
    recipe = {"base_model": "org/model-1.5", "pattern": ".*tea\\b"}
    require_allowed(TrainingRequest(kind="reward_transformer", recipe=recipe), [])


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "unknown"},
        {"command": "rm -r x"},
        {"queue": "foreground"},
        {"priority": 9999},
        {"recipe": {"a": "\0"}},
        {"model_name": "a\0"},
        {"stray": 1},
    ],
    ids=str,
)
async def test_a_wrong_request_is_refused(ask, given):
    assert (await ask(**given)).status_code == 422


async def test_runs_are_read_in_pages_and_by_status_and_kind(ask, claim, client):
    made = [(await ask(recipe={"seed": seed})).json()["id"] for seed in range(3)]
    await claim(made[0])

    first = (await client.get("/training-runs", params={"limit": 2})).json()
    rest = (await client.get("/training-runs", params={"cursor": first["next_cursor"]})).json()
    running = (await client.get("/training-runs", params={"status": "running"})).json()
    others = (await client.get("/training-runs", params={"kind": "reward_transformer"})).json()

    assert [run["id"] for run in first["items"] + rest["items"]] == made[::-1]
    assert [run["id"] for run in running["items"]] == made[:1]
    assert (rest["next_cursor"], others["items"]) == (None, [])


async def test_a_run_at_work_tells_how_far_it_is_and_what_it_wrote(
    ask, claim, client, shared_sessions
):
    run = await claim((await ask()).json()["id"])
    told = {
        "fraction": 0.5, "stage": "train", "numbers": {"epoch": 1.0}, "step": 7, "loss": 0.25,
        "eta_s": 60,
    }  # fmt: skip
    async with shared_sessions.begin() as session:
        await jobs.renew(session, run, progress=told, log_tail="line one\nline two\n")

    found = (await client.get(f"/training-runs/{run.id}")).json()
    log = await client.get(f"/training-runs/{run.id}/log")

    assert found["progress"] == told
    assert (found["status"], found["attempt"], found["owner"]) == ("running", 1, "here:1")
    assert found["log_tail"] == log.text == "line one\nline two\n"
    assert log.headers["content-type"].startswith("text/plain")
    assert "command" not in found["request"]


async def test_a_finished_run_names_its_model_metrics_and_dataset(
    ask, claim, client, shared_sessions, project
):
    run = await claim((await ask()).json()["id"])
    version = ModelVersion(
        project_id=project, name="reward", version=4, kind="embedding", sha256="a", uri="u"
    )
    async with shared_sessions.begin() as session:
        session.add(version)
        await session.flush()
        await jobs.finish(
            session, run, RunStatus.SUCCEEDED, metrics={"pair_accuracy": 0.8}, dataset_id=5,
            model_version_id=version.id, progress={"fraction": 1.0, "stage": "done", "eta_s": 9},
        )  # fmt: skip

    found = (await client.get(f"/training-runs/{run.id}")).json()

    assert found["model"] == {"id": str(version.id), "name": "reward", "version": 4}
    assert (found["metrics"], found["dataset_id"]) == ({"pair_accuracy": 0.8}, 5)
    assert (found["progress"]["fraction"], found["progress"]["eta_s"]) == (1.0, None)


async def test_a_failed_run_says_why_in_one_line_and_with_its_last_lines(
    ask, claim, client, shared_sessions
):
    run = await claim((await ask()).json()["id"])
    async with shared_sessions.begin() as session:
        await jobs.finish(session, run, RunStatus.FAILED, error="It was killed.\nlast line")

    listed = (await client.get("/training-runs")).json()["items"][0]
    found = (await client.get(f"/training-runs/{run.id}")).json()

    assert (listed["error"], found["error"]) == ("It was killed.", "It was killed.\nlast line")


async def test_a_cancelled_run_can_be_resumed_once(ask, client):
    path = f"/training-runs/{(await ask()).json()['id']}"

    cancelled = await client.post(f"{path}/cancel")
    resumed = await client.post(f"{path}/resume")
    again = await client.post(f"{path}/resume")

    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert (resumed.status_code, resumed.json()["status"]) == (202, "queued")
    assert not resumed.json()["cancel_requested"]
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_run_at_work_is_asked_to_stop(ask, claim, client):
    run = await claim((await ask()).json()["id"])

    reply = (await client.post(f"/training-runs/{run.id}/cancel")).json()

    assert (reply["status"], reply["cancel_requested"]) == ("running", True)


async def test_runs_of_another_project_are_not_there(ask, client, shared_sessions, transport):
    run_id = (await ask()).json()["id"]
    async with shared_sessions.begin() as session:
        other = Project(name=str(new_id()))
        session.add(other)
        await session.flush()
        token = await create_key(session, name="other", scopes=[Scope.TRAIN], project_id=other.id)
    headers = {"Authorization": f"Bearer {token}"}
    stranger = httpx.AsyncClient(transport=transport, base_url="http://heed", headers=headers)

    replies = [
        await stranger.get(f"/training-runs/{run_id}"),
        await stranger.get(f"/training-runs/{run_id}/log"),
        await stranger.post(f"/training-runs/{run_id}/cancel"),
        await stranger.post(f"/training-runs/{run_id}/resume"),
    ]

    assert {reply.status_code for reply in replies} == {404}
    assert (await stranger.get("/training-runs")).json()["items"] == []


async def test_a_key_without_the_scope_neither_asks_nor_reads(
    shared_sessions, transport, project, ask
):
    run_id = (await ask()).json()["id"]
    async with shared_sessions.begin() as session:
        scopes = [scope for scope in Scope if scope is not Scope.TRAIN]
        token = await create_key(session, name="all others", scopes=scopes, project_id=project)
    headers = {"Authorization": f"Bearer {token}"}
    reader = httpx.AsyncClient(transport=transport, base_url="http://heed", headers=headers)

    assert (await reader.post("/training-runs", json=EMBEDDING)).status_code == 403
    assert (await reader.get(f"/training-runs/{run_id}/log")).status_code == 403
