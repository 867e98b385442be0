"""Webhooks as rows: added, listed, switched on and off, rotated and removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import httpx
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.feedback_api.webhooks.addresses import (
    AddressRefused,
    Allowed,
    as_address,
)
from services.feedback_api.webhooks.deliveries import (
    TEST,
    Message,
    add_delivery,
    list_deliveries,
    queue_of,
    replay,
    replay_since,
    wake_couriers,
)
from services.feedback_api.webhooks.sending import target_of
from services.feedback_api.webhooks.signing import SigningSecrets, new_secret, unwrap, wrap
from shared.contracts.values import Event, RunStatus
from shared.db.audit import audit
from shared.db.columns import Json
from shared.db.tables import Job, Webhook
from shared.errors import Conflict, InvalidInput, NotFound
from shared.ids import new_id

MAX_PER_PROJECT = 50
MAX_URL = 2048


@dataclass(frozen=True)
class Keeper:
    """Who changes webhooks, of which project, and with which deployment secret."""

    session: AsyncSession
    secret: bytes
    allowed: Allowed
    actor: str
    project_id: int = 1

    async def add(self, url: str, events: Sequence[str]) -> tuple[Webhook, str]:
        """A new webhook and its secret; no events means all of them, later kinds too.

        Raises:
            InvalidInput: the URL may not be called, or an event is unknown.
            Conflict: the project has as many webhooks as it may have.
        """
        require_target(url, self.allowed)
        _require_known(events)
        if len(await self.all()) >= MAX_PER_PROJECT:
            raise Conflict(f"A project has at most {MAX_PER_PROJECT} webhooks: remove one first.")
        webhook_id, signing = new_id(), SigningSecrets(new_secret())
        webhook = Webhook(
            id=webhook_id,
            project_id=self.project_id,
            url=url,
            events=sorted(set(events)),
            wrapped_secret=wrap(self.secret, webhook_id, signing),
        )
        self.session.add(webhook)
        await self.session.flush()
        self._audit("webhook.create", webhook, {"events": webhook.events})
        return webhook, signing.current

    async def all(self) -> Sequence[Webhook]:
        """The project's webhooks, oldest first."""
        mine = select(Webhook).where(col(Webhook.project_id) == self.project_id)
        return (await self.session.scalars(mine.order_by(col(Webhook.id)))).all()

    async def one(self, webhook_id: UUID) -> Webhook:
        """A webhook of the project.

        Raises:
            NotFound: it has none of this id.
        """
        return self._mine(await self.session.get(Webhook, webhook_id), webhook_id)

    async def enabled(self, webhook_id: UUID) -> Webhook:
        """A webhook of the project that is on.

        Raises:
            NotFound: it has none of this id.
            Conflict: it is switched off.
        """
        webhook = await self._held(webhook_id)
        if not webhook.enabled:
            raise Conflict(f"Webhook {webhook_id} is switched off: enable it first.")
        return webhook

    async def test(self, webhook_id: UUID, moment: datetime) -> Job:
        """A delivery that tells of nothing, as it waits; errors as of `enabled`."""
        webhook = await self.enabled(webhook_id)
        test = Message(TEST, moment, {"webhook_id": str(webhook.id)})
        job_id = await add_delivery(self.session, webhook.id, test, project_id=self.project_id)
        await wake_couriers(self.session)
        return (await self.session.scalars(select(Job).where(col(Job.id) == job_id))).one()

    async def deliveries(self, webhook_id: UUID, limit: int) -> Sequence[Job]:
        """The newest deliveries of a webhook of the project, newest first."""
        webhook = await self.one(webhook_id)
        return await list_deliveries(
            self.session, webhook.id, project_id=self.project_id, limit=limit
        )

    async def replay(
        self, webhook_id: UUID, delivery_id: UUID | None, since: datetime | None
    ) -> int:
        """How many deliveries wait again: the one, or all that were made since then.

        Raises:
            InvalidInput: both are given, or neither.
            NotFound: there is no such webhook or delivery.
            Conflict: the webhook is off, the delivery waits already, or there are too many.
        """
        webhook = await self.enabled(webhook_id)
        if delivery_id is not None and since is None:
            await replay(self.session, webhook.id, delivery_id, self.project_id)
            return 1
        if since is not None and delivery_id is None:
            return await replay_since(self.session, webhook.id, since, self.project_id)
        raise InvalidInput("Send either `delivery_id` or `since`.")

    async def enable(self, webhook_id: UUID, is_enabled: bool) -> Webhook:
        """The webhook, on or off; what waits for it waits on while it is off."""
        webhook = await self._held(webhook_id)
        webhook.enabled = is_enabled
        self._audit("webhook.enable" if is_enabled else "webhook.disable", webhook)
        return webhook

    async def rotate(self, webhook_id: UUID, overlap_s: float) -> tuple[Webhook, str]:
        """The webhook and its new secret; the old one signs too for so many seconds."""
        webhook = await self._held(webhook_id)
        signing = unwrap(self.secret, webhook.id, webhook.wrapped_secret).rotated(overlap_s)
        webhook.wrapped_secret = wrap(self.secret, webhook.id, signing)
        self._audit("webhook.rotate", webhook, {"overlap_s": overlap_s})
        return webhook, signing.current

    async def remove(self, webhook_id: UUID) -> None:
        """Delete the webhook; what waits for it is cancelled."""
        webhook = await self._held(webhook_id)
        # First the webhook: whoever adds deliveries right now is waited for, and theirs found too.
        await self.session.execute(delete(Webhook).where(col(Webhook.id) == webhook_id))
        await self.session.execute(
            update(Job)
            .where(col(Job.queue) == queue_of(webhook_id), col(Job.status) == RunStatus.QUEUED)
            .values(status=RunStatus.CANCELLED, finished_at=func.now())
        )
        self._audit("webhook.remove", webhook)

    async def _held(self, webhook_id: UUID) -> Webhook:
        """The same as `one`, locked: whoever else changes or removes it comes before or after."""
        found = await self.session.get(
            Webhook, webhook_id, populate_existing=True, with_for_update={"key_share": True}
        )
        return self._mine(found, webhook_id)

    def _mine(self, found: Webhook | None, webhook_id: UUID) -> Webhook:
        if found is None or found.project_id != self.project_id:
            raise NotFound(f"There is no webhook {webhook_id}; see `heed webhooks list`.")
        return found

    def _audit(self, action: str, webhook: Webhook, detail: Json | None = None) -> None:
        audit(
            self.session,
            action,
            actor=self.actor,
            target=f"webhook:{webhook.id}",
            project_id=self.project_id,
            detail=detail,
        )


def require_target(url: str, allowed: Allowed) -> None:
    """Pass a URL that deliveries may be tried at; its name is resolved at each delivery only.

    Raises:
        InvalidInput: it is not such a URL; the message never repeats it, for it may hold a token.
    """
    try:
        host = target_of(url, allowed).host
    except AddressRefused as error:
        raise InvalidInput(f"This cannot be a webhook: {error}.", code="webhook_url") from None
    if httpx.URL(url).userinfo or len(url) > MAX_URL:
        raise InvalidInput(
            f"A webhook's URL has no user name or password and at most {MAX_URL} characters.",
            code="webhook_url",
        )
    address = as_address(host)
    if address is not None and not allowed.opens(host, address):
        raise InvalidInput(
            "This cannot be a webhook: its address is not public. HEED_WEBHOOK_ALLOW lists "
            "hosts and networks that may be called all the same.",
            code="webhook_url",
        )


def _require_known(events: Sequence[str]) -> None:
    if unknown := sorted(set(events) - set(Event)):
        raise InvalidInput(f"Events are {', '.join(Event)}; unknown: {', '.join(unknown)}.")
