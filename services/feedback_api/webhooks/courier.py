"""Delivers what waits: claims deliveries, tries them, and records what became of each try.

A claim lasts a little longer than an attempt can take. A process that dies in between leaves a
claim that runs out, and the next process tries again under the same `webhook-id`.
"""

import asyncio
import random
import time
from collections import Counter as Tally
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic_core import to_json
from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from services.feedback_api.webhooks.deliveries import (
    QUEUE,
    message_id,
    queue_of,
    wait_before_next,
)
from services.feedback_api.webhooks.sending import GONE, TIMEOUT_S, Outcome, Sender
from services.feedback_api.webhooks.signing import signed_headers, unwrap
from shared.contracts.values import RunStatus
from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.faults import reaching_database
from shared.db.tables import Job, Webhook
from shared.errors import ConfigError, DatabaseUnavailable, RunInterrupted
from shared.jobs import claim, finish, retry
from shared.logs import get_logger

LEASE_S = 3 * TIMEOUT_S
PER_WEBHOOK = 2
AT_ONCE = 16
POLL_S = 1.0
JITTER = 0.2
_ACTOR = "feedback_api"

log = get_logger("webhooks")


@dataclass(frozen=True)
class Delivery:
    """A claimed job and the webhook it is for."""

    job: Job
    webhook: Webhook

    @property
    def id(self) -> str:
        """The `webhook-id` of every attempt."""
        return message_id(self.job.id)


class Courier:
    """Makes the attempts of one process: so many at once, fewer of them for one webhook."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sender: Sender,
        secret: bytes,
        *,
        owner: str,
        registry: CollectorRegistry,
    ) -> None:
        self._sessions = sessions
        self._sender = sender
        self._secret = secret
        self._owner = owner
        self._woken = asyncio.Event()
        self._under_way: Tally[UUID] = Tally()
        self._attempts = Counter(
            "heed_webhook_attempts",
            "Attempts to deliver, by outcome: delivered, retry, failed, gone.",
            ["outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "heed_webhook_attempt_seconds", "How long attempts took.", registry=registry
        )

    def wake(self, _: str = "") -> None:
        """Look for deliveries now."""
        self._woken.set()

    async def work(self) -> None:
        """Deliver for ever; cancel to stop, and what is under way is tried again later."""
        async with asyncio.TaskGroup() as attempts:
            while True:
                self._woken.clear()
                if not await self._start_safely(attempts):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await self._woken.wait()

    async def _start_safely(self, attempts: asyncio.TaskGroup) -> int:
        try:
            with reaching_database():
                return await self.start_due(attempts)
        except DatabaseUnavailable:
            log.warning("deliveries wait for the database")
        except Exception:  # whatever this look met, the next one must come
            log.exception("deliveries cannot be claimed")
        return 0

    async def start_due(self, attempts: asyncio.TaskGroup) -> int:
        """Start one attempt for every webhook that has something due and a free place; how many."""
        started = 0
        async with self._sessions() as session:
            due = await _webhooks_with_due(session)
        for webhook in due:
            is_free = self._under_way[webhook.id] < PER_WEBHOOK
            if not is_free or self._under_way.total() >= AT_ONCE:
                continue
            async with self._sessions.begin() as session:
                job = await claim(
                    session,
                    Job,
                    queues=[queue_of(webhook.id)],
                    owner=self._owner,
                    lease_s=LEASE_S,
                )
            if job is not None:
                self._under_way[webhook.id] += 1
                attempts.create_task(self._attempt(Delivery(job, webhook)))
                started += 1
        return started

    async def _attempt(self, delivery: Delivery) -> None:
        try:
            outcome = await self._send(delivery)
            with reaching_database():
                async with self._sessions.begin() as session:
                    result = await record(session, delivery, outcome)
        except (DatabaseUnavailable, RunInterrupted) as error:
            log.warning("an attempt is not recorded", delivery=delivery.id, reason=error.detail)
        except Exception:  # one delivery must not end the others
            log.exception("an attempt broke", delivery=delivery.id)
        else:
            self._count(delivery, outcome, result)
        finally:
            self._under_way[delivery.webhook.id] -= 1
            self.wake()

    async def _send(self, delivery: Delivery) -> Outcome:
        webhook, body = delivery.webhook, to_json(delivery.job.params)
        try:
            signing = unwrap(self._secret, webhook.id, webhook.wrapped_secret)
        except ConfigError as error:
            return Outcome(error=error.detail)
        headers = {
            "content-type": "application/json",
            "user-agent": "heed-webhooks",
            **signed_headers(signing, delivery.id, body, time.time()),
        }
        return await self._sender.send(webhook.url, headers, body)

    def _count(self, delivery: Delivery, outcome: Outcome, result: str) -> None:
        self._attempts.labels(result).inc()
        self._seconds.observe(outcome.seconds)
        log.info(
            "webhook is tried",
            webhook=str(delivery.webhook.id),
            delivery=delivery.id,
            attempt=delivery.job.attempt,
            status=outcome.status,
            result=result,
            reason=outcome.error,
        )


async def record(session: AsyncSession, delivery: Delivery, outcome: Outcome) -> str:
    """Close the attempt under its claim: `delivered`, `retry`, `failed` or `gone`.

    Raises:
        RunInterrupted: the claim is somebody else's by now; nothing was written.
    """
    job, noted = delivery.job, _noted(outcome)
    if outcome.is_delivered:
        await finish(session, job, RunStatus.SUCCEEDED, progress=noted, error=None)
        return "delivered"
    if outcome.status == GONE:
        await finish(session, job, RunStatus.FAILED, progress=noted, error=outcome.error)
        await _disable(session, delivery.webhook)
        return "gone"
    if not await _is_there(session, delivery.webhook):
        await finish(session, job, RunStatus.CANCELLED, progress=noted, error=outcome.error)
        return "failed"
    wait_s = wait_before_next(job)
    if wait_s is not None:
        wait_s = max(wait_s * random.uniform(1 - JITTER, 1 + JITTER), outcome.retry_after_s or 0)
    error = outcome.error or ""
    status = await retry(session, job, error, wait_s=wait_s, progress=noted)
    return "failed" if status == RunStatus.FAILED else "retry"


def _noted(outcome: Outcome) -> Json:
    return {"status": outcome.status, "seconds": round(outcome.seconds, 3)}


async def _is_there(session: AsyncSession, webhook: Webhook) -> bool:
    """Whether the webhook is not removed, nor will be before this transaction ends."""
    lock = {"read": True, "key_share": True}
    found = await session.get(Webhook, webhook.id, populate_existing=True, with_for_update=lock)
    return found is not None


async def _disable(session: AsyncSession, webhook: Webhook) -> None:
    """The receiver said 410: it wants no more."""
    await session.execute(
        update(Webhook)
        .where(col(Webhook.id) == webhook.id)
        .values(enabled=False)
        .execution_options(synchronize_session=False)
    )
    audit(
        session,
        "webhook.disable",
        actor=_ACTOR,
        target=f"webhook:{webhook.id}",
        project_id=webhook.project_id,
        detail={"status": GONE},
    )


async def _webhooks_with_due(session: AsyncSession) -> list[Webhook]:
    """The enabled webhooks that have a delivery to try now."""
    is_due = or_(
        col(Job.status) == RunStatus.QUEUED,
        (col(Job.status) == RunStatus.RUNNING) & (col(Job.lease_until) < func.now()),
    )
    due = (
        select(col(Job.id))
        .where(
            col(Job.queue) == func.concat(QUEUE, col(Webhook.id)),
            col(Job.run_after) <= func.now(),
            is_due,
        )
        .limit(1)  # one look into the index for each webhook, however much waits for it
        .scalar_subquery()
    )
    statement = select(Webhook).where(col(Webhook.enabled), due.is_not(None))
    statement = statement.order_by(func.random())
    return list((await session.scalars(statement)).all())
