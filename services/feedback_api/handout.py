"""The background work on events: hands out the outbox, delivers webhooks."""

import asyncio
import os
import socket
import time
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.dispatch import Dispatcher
from services.feedback_api.webhooks.addresses import Allowed, SystemResolver
from services.feedback_api.webhooks.courier import Courier
from services.feedback_api.webhooks.deliveries import CHANNEL
from services.feedback_api.webhooks.sending import Sender
from shared.db.faults import reaching_database
from shared.db.listen import listen
from shared.errors import DatabaseUnavailable
from shared.logs import get_logger

TICK_S = 1.0
MEASURE_S = 5.0

log = get_logger("feedback_api")


@dataclass
class Rounds:
    """The dispatcher of one process, and when what waits was last counted."""

    dispatcher: Dispatcher
    measured_at: float = 0.0

    async def go_on(self) -> None:
        """Look at the outbox every second, for ever."""
        while True:
            try:
                with reaching_database():
                    await self.look()
            except DatabaseUnavailable:
                log.warning("the outbox waits for the database")
            except Exception:  # whatever one look met, the next one must come
                log.exception("the outbox cannot be handed out")
            await asyncio.sleep(TICK_S)

    async def look(self) -> None:
        """Hand out what is there; now and then count what waits."""
        await self.dispatcher.drain()
        if time.monotonic() - self.measured_at >= MEASURE_S:
            self.measured_at = time.monotonic()
            await self.dispatcher.measure()


async def hand_out(
    settings: FeedbackSettings,
    sessions: async_sessionmaker[AsyncSession],
    secret: bytes,
    url: str,
    registry: CollectorRegistry,
) -> None:
    """Do all of it for ever; cancel to stop, and what is under way is tried again later."""
    resolver = SystemResolver()
    sender = Sender(Allowed.of(settings.webhook_allow), resolver)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    courier = Courier(sessions, sender, secret, owner=owner, registry=registry)
    rounds = Rounds(Dispatcher(sessions, registry))
    try:
        async with asyncio.TaskGroup() as works:
            works.create_task(rounds.go_on())
            works.create_task(courier.work())
            works.create_task(listen(url, {CHANNEL: courier.wake}, on_connect=courier.wake))
    finally:
        resolver.close()
