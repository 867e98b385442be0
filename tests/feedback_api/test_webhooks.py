"""Webhooks end to end: the running API, a real receiver, an independent check of signatures."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from support.receivers import Received, Receiver, receiving

from services.feedback_api.webhooks.deliveries import wake_couriers
from shared.db.tables import AuditEntry, Job, Webhook

POST = {"prompt": "Why is the sky blue?", "response": "Rayleigh scattering.", "rating": 4}


@dataclass
class Hooks:
    """The receiver, and what tests do with the webhooks that point at it."""

    client: httpx.AsyncClient
    receiver: Receiver
    eventually: Callable[..., Awaitable[bool]]
    sessions: async_sessionmaker[AsyncSession]
    project: int

    async def add(self, *events: str) -> dict[str, Any]:
        """A new webhook to the receiver."""
        body = {"url": self.receiver.url, "events": events}
        reply = await self.client.post("/webhooks", json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()

    async def test(self, webhook: dict[str, Any]) -> None:
        """Ask for a test delivery, which is tried at once."""
        assert (await self.client.post(f"/webhooks/{webhook['id']}/test")).status_code == 202

    async def arrived(self, number: int = 1) -> Received:
        """The so-manieth request, once it is there."""
        got = self.receiver.got

        async def is_there() -> bool:
            return len(got) >= number

        assert await self.eventually(is_there), f"{len(got)} of {number} arrived"
        return got[number - 1]

    async def settled(
        self, webhook: dict[str, Any], status: str, attempts: int = 1
    ) -> dict[str, Any]:
        """The newest delivery, once it has this status after so many attempts."""
        found: dict[str, Any] = {}

        async def is_so() -> bool:
            shown = (await self.client.get(f"/webhooks/{webhook['id']}")).json()["deliveries"]
            found.update(shown[0] if shown else {})
            return (found.get("status"), found.get("attempts")) == (status, attempts)

        assert await self.eventually(is_so), found
        return found

    async def change_waiting(self, **values: Any) -> None:
        """Change the deliveries that wait, such as `run_after`, as if time had passed."""
        async with self.sessions.begin() as session:
            await session.execute(
                update(Job)
                .where(col(Job.project_id) == self.project, col(Job.status) == "queued")
                .values(**values)
            )
            await wake_couriers(session)


@pytest.fixture
async def hooks(client, eventually, shared_sessions, project):
    async with receiving() as receiver:
        yield Hooks(client, receiver, eventually, shared_sessions, project)


async def test_a_post_is_told_with_a_signature_that_others_verify(client, hooks):
    webhook = await hooks.add("feedback.created")

    stored = (await client.post("/feedback", json=POST)).json()

    request = await hooks.arrived()
    told = Verifier(webhook["secret"]).verify(request.body, request.headers)
    assert told["type"] == "feedback.created"
    assert told["data"] == {"count": 1, "ids": [stored["id"]], "truncated": False}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/feedback", POST | {"feedback_id": "fb_1"}),
        (
            "/preference",
            {"prompt": "p", "response_a": "a", "response_b": "b", "preferred": "a"},
        ),
    ],
)
async def test_a_receiver_reads_the_row_under_the_id_it_was_told(client, hooks, path, body):
    await hooks.add()
    await client.post(path, json=body)
    [told] = json.loads((await hooks.arrived()).body)["data"]["ids"]

    found = await client.get(f"{path}/{told}")

    assert (found.status_code, found.json()["id"]) == (200, told)


async def test_the_id_of_a_version_leads_to_its_row_while_it_is_live(client):
    old = (await client.post("/feedback", json=POST | {"feedback_id": "fb_1"})).json()["id"]
    new = (await client.post("/feedback", json=POST | {"feedback_id": "fb_1", "rating": 2})).json()

    found = (await client.get(f"/feedback/{new['id']}")).json()

    assert (found["feedback_id"], found["rating"]) == ("fb_1", 2)
    assert [version["id"] for version in found["history"]] == [old]
    assert (await client.get(f"/feedback/{old}")).status_code == 404


async def test_attempts_are_counted_by_outcome(client, hooks):
    def delivered(metrics: str) -> float:
        pattern = r'^heed_webhook_attempts_total\{outcome="delivered"\} (\S+)$'
        found = re.search(pattern, metrics, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = delivered((await client.get("/metrics")).text)
    webhook = await hooks.add()
    await hooks.test(webhook)

    async def is_counted() -> bool:
        return delivered((await client.get("/metrics")).text) > before

    assert await hooks.eventually(is_counted)


async def test_a_changed_body_does_not_verify(hooks):
    webhook = await hooks.add()
    await hooks.test(webhook)

    request = await hooks.arrived()

    with pytest.raises(WebhookVerificationError):
        Verifier(webhook["secret"]).verify(request.body + b" ", request.headers)


async def test_nothing_of_a_text_leaves_or_is_logged(client, hooks, caplog):
    await hooks.add()
    canary = "Canary7531"
    await client.post("/feedback", json=POST | {"prompt": canary, "comment": canary})
    await client.post(
        "/preference",
        json={"prompt": canary, "response_a": canary, "response_b": "b", "preferred": "a"},
    )

    async def both_are_logged() -> bool:
        return caplog.text.count("webhook is tried") >= 2

    await hooks.arrived(2)

    assert await hooks.eventually(both_are_logged)
    assert all(canary.encode() not in request.body for request in hooks.receiver.got)
    assert canary not in caplog.text


async def test_a_webhook_hears_only_what_it_asked_for(client, hooks):
    await hooks.add("preference.created")
    await client.post("/feedback", json=POST)
    await client.post(
        "/preference", json={"prompt": "p", "response_a": "a", "response_b": "b", "preferred": "a"}
    )

    await hooks.arrived()

    assert [json.loads(request.body)["type"] for request in hooks.receiver.got] == [
        "preference.created"
    ]


async def test_a_failed_attempt_is_repeated_with_the_same_id(hooks):
    hooks.receiver.reply = lambda number: (500 if number == 0 else 200, {})
    webhook = await hooks.add()
    await hooks.test(webhook)
    first = await hooks.arrived(1)
    waiting = await hooks.settled(webhook, "queued")

    await hooks.change_waiting(run_after=func.now())

    second = await hooks.arrived(2)
    done = await hooks.settled(webhook, "succeeded", attempts=2)
    assert second.headers["webhook-id"] == first.headers["webhook-id"] == done["message_id"]
    assert second.body == first.body
    assert (waiting["last_status"], waiting["error"]) == (500, "The receiver replied 500.")
    assert (done["last_status"], done["attempts"], done["error"]) == (200, 2, None)


async def test_a_receiver_that_asks_for_time_gets_it(hooks):
    hooks.receiver.reply = lambda _: (429, {"Retry-After": "3000"})
    webhook = await hooks.add()

    await hooks.test(webhook)

    delivery = await hooks.settled(webhook, "queued")
    wait = datetime.fromisoformat(delivery["next_attempt_at"]) - datetime.now(UTC)
    assert timedelta(seconds=2900) < wait <= timedelta(seconds=3000)


async def test_a_redirect_is_not_followed(hooks):
    hooks.receiver.reply = lambda _: (302, {"Location": "/elsewhere"})
    webhook = await hooks.add()

    await hooks.test(webhook)

    await hooks.arrived()
    delivery = await hooks.settled(webhook, "queued")
    assert delivery["last_status"] == 302
    assert [request.path for request in hooks.receiver.got] == ["/hook"]


async def test_a_receiver_that_is_gone_is_switched_off(hooks, rows):
    hooks.receiver.reply = lambda _: (410, {})
    webhook = await hooks.add()

    await hooks.test(webhook)

    delivery = await hooks.settled(webhook, "failed")
    assert delivery["last_status"] == 410
    assert [row.enabled for row in await rows(Webhook)] == [False]
    assert "webhook.disable" in [entry.action for entry in await rows(AuditEntry)]


async def test_a_delivery_out_of_attempts_failed_with_its_last_status(hooks):
    hooks.receiver.reply = lambda _: (503, {})
    webhook = await hooks.add()
    await hooks.test(webhook)
    await hooks.settled(webhook, "queued")

    await hooks.change_waiting(max_attempts=2, run_after=func.now())

    failed = await hooks.settled(webhook, "failed", attempts=2)
    assert (failed["last_status"], failed["error"]) == (503, "The receiver replied 503.")


async def test_one_delivery_is_sent_again_under_its_id(client, hooks):
    webhook = await hooks.add("feedback.created")
    await client.post("/feedback", json=POST)
    first = await hooks.arrived()
    delivery = await hooks.settled(webhook, "succeeded")

    reply = await client.post(
        f"/webhooks/{webhook['id']}/replay", json={"delivery_id": delivery["id"]}
    )

    assert (reply.status_code, reply.json()) == (202, {"replayed": 1})
    again = await hooks.arrived(2)
    assert again.headers["webhook-id"] == first.headers["webhook-id"]


async def test_everything_since_a_time_is_sent_again(client, hooks):
    webhook = await hooks.add()
    for number in (1, 2):
        await hooks.test(webhook)
        await hooks.arrived(number)
        await hooks.settled(webhook, "succeeded")
    shown = (await client.get(f"/webhooks/{webhook['id']}")).json()["deliveries"]

    one = await client.post(
        f"/webhooks/{webhook['id']}/replay", json={"since": shown[0]["created_at"]}
    )
    await hooks.arrived(3)
    await hooks.settled(webhook, "succeeded", attempts=2)
    both = await client.post(
        f"/webhooks/{webhook['id']}/replay", json={"since": shown[1]["created_at"]}
    )

    await hooks.arrived(5)
    assert (one.json(), both.json()) == ({"replayed": 1}, {"replayed": 2})
    assert len({request.headers["webhook-id"] for request in hooks.receiver.got}) == 2


async def test_both_secrets_sign_while_they_overlap_and_then_only_the_new_one(client, hooks):
    old = await hooks.add()
    test, rotate = f"/webhooks/{old['id']}/test", f"/webhooks/{old['id']}/rotate"
    new = (await client.post(rotate, params={"overlap_s": 60})).json()
    await client.post(test)
    overlapping = await hooks.arrived(1)
    newest = (await client.post(rotate, params={"overlap_s": 0})).json()
    await client.post(test)
    after = await hooks.arrived(2)

    for secret in (old["secret"], new["secret"]):
        assert Verifier(secret).verify(overlapping.body, overlapping.headers)
    assert Verifier(newest["secret"]).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(new["secret"]).verify(after.body, after.headers)


async def test_the_secret_is_shown_once_and_not_stored_in_the_clear(client, hooks, rows):
    webhook = await hooks.add()

    [row] = await rows(Webhook)
    shown = await client.get(f"/webhooks/{webhook['id']}")

    assert webhook["secret"].startswith("whsec_")
    assert webhook["secret"].encode() not in row.wrapped_secret
    assert webhook["secret"] not in shown.text
    assert "secret" not in (await client.get("/webhooks")).json()[0]


async def test_a_webhook_that_is_off_hears_nothing_and_is_not_tested(client, hooks):
    webhook = await hooks.add()
    path = f"/webhooks/{webhook['id']}"
    off = await client.patch(path, json={"enabled": False})

    tested = await client.post(f"{path}/test")

    assert off.json()["enabled"] is False
    assert (tested.status_code, tested.json()["code"]) == (409, "conflict")
    assert hooks.receiver.got == []


async def test_a_removed_webhook_is_gone_and_what_waited_is_cancelled(client, hooks, rows):
    hooks.receiver.reply = lambda _: (500, {})
    webhook = await hooks.add()
    await hooks.test(webhook)
    await hooks.settled(webhook, "queued")

    reply = await client.delete(f"/webhooks/{webhook['id']}")

    assert reply.status_code == 204
    assert (await client.get(f"/webhooks/{webhook['id']}")).status_code == 404
    assert [job.status for job in await rows(Job)] == ["cancelled"]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:secret@hooks.example.org/",
        "ftp://hooks.example.org/",
        "https://",
        "https://a:99999/",
        "https://a:b/",
        "hooks.example.org",
    ],
)
async def test_a_url_that_may_not_be_called_is_refused(client, url):
    reply = await client.post("/webhooks", json={"url": url})

    assert (reply.status_code, reply.json()["code"]) == (422, "webhook_url")
    assert "secret" not in reply.json()["detail"]


async def test_an_unknown_event_is_refused_by_its_place(client, hooks):
    body = {"url": hooks.receiver.url, "events": ["feedback.created", "feedback.gone"]}

    reply = await client.post("/webhooks", json=body)

    assert reply.status_code == 422
    assert reply.json()["errors"][0]["pointer"] == "/events/1"
