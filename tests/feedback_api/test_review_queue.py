"""The review queue over HTTP, made by the trainer's own job."""

import pytest

from services.trainer.config import TrainerSettings
from services.trainer.review.jobs import MAKING_QUEUES
from services.trainer.small_jobs import work_off_one
from services.trainer.workplace import Workplace
from shared.artifacts import FolderStore
from shared.db.tables import AuditEntry
from shared.keys import Scope, create_key
from shared.privacy.fields import open_cipher
from tests.support.apps import SECRET


@pytest.fixture
def work(shared_sessions, tmp_path):
    """Makes the queue that waits, as a worker would."""
    settings = TrainerSettings(data_dir=tmp_path)
    store, cipher = FolderStore(tmp_path / "store"), open_cipher(settings, shared_sessions)
    secret = SECRET.encode()
    workplace = Workplace(settings, shared_sessions, store, secret, cipher)

    async def made() -> None:
        while await work_off_one(workplace, MAKING_QUEUES):
            pass

    return made


@pytest.fixture
def queue(client):
    """The queue as it is read; what the reply says."""

    async def read(**params):
        reply = await client.get("/review/queue", params=params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return read


@pytest.fixture
async def made(client, post, work):
    """A queue of eight recorded responses of two languages."""
    for at in range(8):
        await post(
            "/interactions",
            {
                "interaction_id": f"int_{at}",
                "prompt": f"What of {at}?",
                "response": f"This of {at}.",
                "context": {"lang": "de" if at % 2 else "en"},
                "consent": {"training": True},
            },
        )
    reply = await client.post("/review/queue", json={"by": "lang", "count": 8, "audit_share": 0.25})
    assert reply.status_code == 202, reply.text
    await work()


async def test_what_was_asked_for_is_there_once_a_worker_made_it(made, queue):
    found = await queue()

    assert (found["state"], found["model"], found["unjudged"]) == ("succeeded", None, 8)
    assert [item["place"] for item in found["items"]] == list(range(1, 9))
    assert found["items"][0]["response"].startswith("This of")
    assert {item["slice"] for item in found["items"]} == {"de", "en"}
    assert {item["reason"] for item in found["items"]} == {"audit", "coverage"}
    assert all(item["is_audit"] == (item["reason"] == "audit") for item in found["items"])


async def test_pages_follow_one_another(made, queue):
    whole = await queue()

    first = await queue(limit=5)
    second = await queue(limit=5, cursor=first["next_cursor"])

    assert first["items"] + second["items"] == whole["items"]
    assert (second["next_cursor"], whole["next_cursor"]) == (None, None)


async def test_what_was_judged_since_is_left_out_also_between_two_pages(made, queue, post):
    first = await queue(limit=2)
    third = (await queue())["items"][2]
    await post("/feedback", {"interaction_id": third["interaction_id"], "thumbs": "up"})
    await post("/feedback", {"interaction_id": first["items"][0]["interaction_id"], "rating": 2})

    rest = await queue(limit=100, cursor=first["next_cursor"])

    assert [item["place"] for item in rest["items"]] == [4, 5, 6, 7, 8]
    assert [item["place"] for item in (await queue())["items"]] == [2, 4, 5, 6, 7, 8]


async def test_a_cursor_of_an_earlier_queue_is_refused(made, queue, client, work):
    first = await queue(limit=2)
    await client.post("/review/queue", json={})
    await work()

    for cursor in (first["next_cursor"], "nonsense", "é"):
        reply = await client.get("/review/queue", params={"cursor": cursor})
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_cursor")


async def test_the_old_queue_stays_while_a_new_one_waits(made, queue, client):
    await client.post("/review/queue", json={"count": 3})

    found = await queue()

    assert (found["state"], len(found["items"])) == ("queued", 8)


async def test_before_there_is_one_the_queue_is_empty_and_why_is_said(queue, client, work):
    nothing = await queue()
    await client.post("/review/queue", json={})
    await work()
    failed = await queue()

    assert (nothing["state"], nothing["items"], nothing["made_at"]) == ("none", [], None)
    assert (failed["state"], failed["items"]) == ("failed", [])
    assert "No recorded interaction is left" in failed["error"]


async def test_the_same_wish_waits_once(client):
    asked = [await client.post("/review/queue", json={"count": 3}) for _ in range(2)]
    other = await client.post("/review/queue", json={"count": 4})

    ids = [reply.json()["id"] for reply in (*asked, other)]
    assert ids[0] == ids[1] != ids[2]


async def test_only_a_key_that_may_review_sees_the_queue(client, made, shared_sessions, project):
    async with shared_sessions.begin() as session:
        scopes = [scope for scope in Scope if scope != Scope.REVIEW]
        reader = await create_key(session, name="reader", scopes=scopes, project_id=project)
    headers = {"Authorization": f"Bearer {reader}"}

    replies = [
        await client.get("/review/queue", headers=headers),
        await client.post("/review/queue", headers=headers, json={}),
    ]

    assert [reply.status_code for reply in replies] == [403, 403]
    assert "review" in replies[0].json()["detail"]


async def test_who_read_which_rows_is_in_the_audit_log_without_a_text(made, queue, rows):
    shown = (await queue(limit=2))["items"]

    entries = [entry for entry in await rows(AuditEntry) if entry.target == "/review/queue"]
    assert [entry.detail["rows"] for entry in entries] == [[item["id"] for item in shown]]
    assert "This of" not in str(entries[0].detail)


@pytest.mark.parametrize("body", [{"by": "a\u0000b"}, {"count": 0}, {"audit_share": 2}, {"x": 1}])
async def test_a_wish_that_cannot_be_is_refused(client, body):
    reply = await client.post("/review/queue", json=body)

    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
