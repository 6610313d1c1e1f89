"""Webhooks, for their owners."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from vitrine_api.dependencies import App, Who
from vitrine_api.resources import Listed
from vitrine_api.routes.accounts import Short, Strict
from vitrine_api.webhooks.addresses import MAX_LENGTH
from vitrine_common.documents import Webhook, WebhookDelivery
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.states import DeliveryState

router = APIRouter(prefix="/api/v1", tags=["webhooks"])


class WebhookIn(Strict):
    """A wish for a webhook; without `kinds` it is told of everything."""

    url: str = Field(max_length=MAX_LENGTH)
    kinds: Annotated[list[Short], Field(max_length=100)] = []


class WebhookOut(BaseModel):
    """A webhook; `secret` is shown once, when it is new."""

    id: str
    url: str
    kinds: list[str]
    active: bool
    problem: str
    failing_since: datetime | None
    created_at: datetime
    secret: str | None = None


class DeliveryOut(BaseModel):
    """A message to a webhook; `status_code` is what the address answered last, 0 where it did not."""

    id: str
    kind: str
    state: DeliveryState
    tries: int
    status_code: int
    duration_ms: float
    problem: str
    created_at: datetime
    due_at: datetime
    body: str


def _out(hook: Webhook, secret: str | None = None) -> WebhookOut:
    return WebhookOut(
        id=hook.id,
        url=hook.url,
        kinds=hook.kinds,
        active=hook.active,
        problem=hook.problem,
        failing_since=None if hook.failing_since == LONG_AGO else hook.failing_since,
        created_at=hook.created_at,
        secret=secret,
    )


def delivery_out(delivery: WebhookDelivery) -> DeliveryOut:
    """Describe a message."""
    return DeliveryOut.model_validate(delivery, from_attributes=True)


@router.post("/webhooks", status_code=201)
async def create(body: WebhookIn, who: Who, app: App) -> WebhookOut:
    """Have an address told of one's news; the secret that messages are signed with is shown this once."""
    return _out(*await app.hooks.create(who, body.url, body.kinds))


@router.get("/webhooks")
async def webhooks(who: Who, app: App) -> Listed[WebhookOut]:
    """List one's webhooks."""
    return Listed(items=[_out(hook) for hook in await app.hooks.mine(who)])


@router.get("/webhooks/{webhook_id}")
async def webhook(webhook_id: str, who: Who, app: App) -> WebhookOut:
    """Return a webhook."""
    return _out(await app.hooks.get(who, webhook_id))


@router.delete("/webhooks/{webhook_id}", status_code=204)
async def remove(webhook_id: str, who: Who, app: App) -> None:
    """Remove a webhook and the log of its messages."""
    await app.hooks.remove(who, webhook_id)


@router.post("/webhooks/{webhook_id}/secret", status_code=201)
async def rotate(webhook_id: str, who: Who, app: App) -> WebhookOut:
    """Make a new secret, shown this once; messages carry a signature by the one before as well."""
    return _out(*await app.hooks.rotate(who, webhook_id))


@router.post("/webhooks/{webhook_id}/activation")
async def switch_on(webhook_id: str, who: Who, app: App) -> WebhookOut:
    """Switch a webhook on again that was switched off since nobody answered."""
    return _out(await app.hooks.switch_on(who, webhook_id))


@router.post("/webhooks/{webhook_id}/test", status_code=202)
async def test(webhook_id: str, who: Who, app: App) -> DeliveryOut:
    """Send a message that says nothing but that it arrived."""
    return delivery_out(await app.hooks.test(who, webhook_id))


@router.get("/webhooks/{webhook_id}/deliveries")
async def deliveries(webhook_id: str, who: Who, app: App) -> Listed[DeliveryOut]:
    """List the last messages to a webhook."""
    return Listed(items=[delivery_out(item) for item in await app.hooks.deliveries(who, webhook_id)])


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", status_code=202)
async def replay(webhook_id: str, delivery_id: str, who: Who, app: App) -> DeliveryOut:
    """Send a message again."""
    return delivery_out(await app.hooks.replay(who, webhook_id, delivery_id))
