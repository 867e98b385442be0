"""Two people change one webhook at once, or one changes it while a delivery is on its way."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from services.feedback_api.webhooks.addresses import Allowed
from services.feedback_api.webhooks.courier import Delivery, record
from services.feedback_api.webhooks.deliveries import queue_of
from services.feedback_api.webhooks.sending import Outcome
from services.feedback_api.webhooks.signing import unwrap
from services.feedback_api.webhooks.subscriptions import Keeper
from shared.db.tables import Job, Webhook
from shared.errors import NotFound
from shared.jobs import claim

SECRET = b"a secret for the tests, long enough."


def keeper(session) -> Keeper:
    return Keeper(session, SECRET, Allowed(), "tests")


@pytest.fixture
async def webhook(sessions):
    async with sessions.begin() as session:
        added, _ = await keeper(session).add("https://hooks.test/", [])
        return added


async def test_of_two_rotations_at_once_both_secrets_sign(sessions, webhook):
    async def rotate() -> str:
        async with sessions.begin() as session:
            _, secret = await keeper(session).rotate(webhook.id, 60)
            await asyncio.sleep(0.1)  # the other one reads before this one commits
            return secret

    shown = await asyncio.gather(rotate(), rotate())

    async with sessions() as session:
        stored = await session.get(Webhook, webhook.id)
        signing = unwrap(SECRET, webhook.id, stored.wrapped_secret)
    assert {signing.current, signing.previous} == set(shown)


async def test_a_delivery_that_fails_after_its_webhook_was_removed_waits_for_nothing(
    sessions, webhook
):
    async with sessions.begin() as session:
        await keeper(session).test(webhook.id, datetime.now(UTC))
    async with sessions.begin() as session:
        job = await claim(session, Job, queues=[queue_of(webhook.id)], owner="tests")
    async with sessions.begin() as session:
        await keeper(session).remove(webhook.id)

    async with sessions.begin() as session:
        result = await record(session, Delivery(job, webhook), Outcome(500, "It replied 500."))

    async with sessions() as session:
        [kept] = await session.scalars(select(Job))
    assert (result, kept.status) == ("failed", "cancelled")


async def test_a_test_that_meets_a_removal_finds_no_webhook(sessions, webhook):
    async with sessions.begin() as removing:
        await keeper(removing).remove(webhook.id)

        async def test() -> None:
            async with sessions.begin() as session:
                await keeper(session).test(webhook.id, datetime.now(UTC))

        testing = asyncio.create_task(test())
        await asyncio.sleep(0.1)

    with pytest.raises(NotFound):
        await testing
    async with sessions() as session:
        assert list(await session.scalars(select(Job))) == []
