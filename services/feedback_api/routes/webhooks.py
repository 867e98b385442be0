"""Webhooks of the caller's project."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from services.feedback_api.deps import AdminDep, SessionDep, runtime
from services.feedback_api.routes.posting import FIND_ERRORS, READ_ERRORS
from services.feedback_api.webhooks.addresses import Allowed
from services.feedback_api.webhooks.shapes import (
    DeliveryOut,
    NewWebhook,
    Replayed,
    ReplayIn,
    WebhookChange,
    WebhookIn,
    WebhookOut,
    WebhookWithDeliveries,
)
from services.feedback_api.webhooks.subscriptions import Keeper
from shared.errors import Conflict, MalformedBody, TooLarge
from shared.web import problems

router = APIRouter(tags=["webhooks"])
MAX_OVERLAP_S = 7 * 24 * 3600
DAY_S = 24 * 3600
_BODY_ERRORS = problems(MalformedBody, Conflict, TooLarge)


async def _keeper(principal: AdminDep, session: SessionDep, request: Request) -> Keeper:
    running = runtime(request)
    return Keeper(
        session,
        running.secret,
        Allowed.of(running.settings.webhook_allow),
        principal.actor,
        principal.project_id,
    )


KeeperDep = Annotated[Keeper, Depends(_keeper, scope="function")]


@router.post(
    "/webhooks", status_code=201, responses=READ_ERRORS | _BODY_ERRORS, summary="Add a webhook"
)
async def post_webhook(body: WebhookIn, keeper: KeeperDep) -> NewWebhook:
    """The secret is in this reply and nowhere else."""
    webhook, secret = await keeper.add(body.url, body.events)
    return NewWebhook.of(webhook, secret=secret)


@router.get("/webhooks", responses=READ_ERRORS, summary="List the webhooks of the project")
async def get_webhooks(keeper: KeeperDep) -> list[WebhookOut]:
    """All of them, oldest first."""
    return [WebhookOut.of(webhook) for webhook in await keeper.all()]


@router.get("/webhooks/{webhook_id}", responses=FIND_ERRORS, summary="One webhook")
async def get_webhook(
    webhook_id: UUID,
    keeper: KeeperDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Deliveries to show.")] = 50,
) -> WebhookWithDeliveries:
    """The webhook and its newest deliveries."""
    deliveries = [DeliveryOut.of(job) for job in await keeper.deliveries(webhook_id, limit)]
    return WebhookWithDeliveries.of(await keeper.one(webhook_id), deliveries=deliveries)


@router.patch(
    "/webhooks/{webhook_id}", responses=FIND_ERRORS | _BODY_ERRORS, summary="Switch on or off"
)
async def patch_webhook(webhook_id: UUID, body: WebhookChange, keeper: KeeperDep) -> WebhookOut:
    """While it is off nothing new is kept for it; what waits already waits on."""
    return WebhookOut.of(await keeper.enable(webhook_id, body.enabled))


@router.delete(
    "/webhooks/{webhook_id}", status_code=204, responses=FIND_ERRORS, summary="Remove a webhook"
)
async def delete_webhook(webhook_id: UUID, keeper: KeeperDep) -> None:
    """What waits for it is cancelled."""
    await keeper.remove(webhook_id)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    status_code=201,
    responses=FIND_ERRORS,
    summary="Replace a webhook's secret",
)
async def post_webhook_rotation(
    webhook_id: UUID,
    keeper: KeeperDep,
    overlap_s: Annotated[
        int, Query(ge=0, le=MAX_OVERLAP_S, description="Seconds the old secret signs too.")
    ] = DAY_S,
) -> NewWebhook:
    """A new secret; until the overlap ends every delivery carries a signature of each."""
    webhook, secret = await keeper.rotate(webhook_id, overlap_s)
    return NewWebhook.of(webhook, secret=secret)


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=202,
    responses=FIND_ERRORS | problems(Conflict),
    summary="Send a test",
)
async def post_webhook_test(webhook_id: UUID, keeper: KeeperDep) -> DeliveryOut:
    """A delivery of type `webhook.test`, tried in a moment; see the webhook for how it went."""
    return DeliveryOut.of(await keeper.test(webhook_id, datetime.now(UTC)))


@router.post(
    "/webhooks/{webhook_id}/replay",
    status_code=202,
    responses=FIND_ERRORS | _BODY_ERRORS,
    summary="Send deliveries again",
)
async def post_webhook_replay(webhook_id: UUID, body: ReplayIn, keeper: KeeperDep) -> Replayed:
    """One delivery, or all made since a time, whatever became of them; same `webhook-id`."""
    return Replayed(replayed=await keeper.replay(webhook_id, body.delivery_id, body.since))
