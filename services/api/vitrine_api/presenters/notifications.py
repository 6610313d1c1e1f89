"""From notifications and webhooks to what pages show."""

from __future__ import annotations

from collections.abc import Collection

from vitrine_api.notifications import KINDS
from vitrine_api.views.notifications import (
    DeliveryRow,
    KindChoice,
    NotificationRow,
    WebhookRow,
)
from vitrine_api.views.page import Tone
from vitrine_common.documents import Notification, Webhook, WebhookDelivery
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.states import DeliveryState

_STATES: dict[DeliveryState, tuple[str, Tone]] = {
    DeliveryState.WAITING: ("waiting", "busy"),
    DeliveryState.SENDING: ("sending", "busy"),
    DeliveryState.DELIVERED: ("delivered", "good"),
    DeliveryState.FAILED: ("failed", "bad"),
}


def notification_row(notification: Notification) -> NotificationRow:
    """Return a row of the list."""
    return NotificationRow(
        title=notification.title,
        text=notification.text,
        url=f"/notifications/{notification.id}",
        unread=bool(notification.unread),
        at=notification.created_at,
    )


def kind_choices(chosen: Collection[str], *, with_silent: bool) -> tuple[KindChoice, ...]:
    """Return every kind with whether it is chosen; silent ones are told to webhooks alone."""
    kinds = [kind for kind in KINDS.values() if with_silent or kind.page]
    return tuple(KindChoice(name=kind.name, title=kind.title, chosen=kind.name in chosen) for kind in kinds)


def webhook_row(hook: Webhook) -> WebhookRow:
    """Return a row of the list."""
    state, tone = _state_of(hook)
    return WebhookRow(
        id=hook.id,
        url=hook.url,
        told_of=", ".join(hook.kinds) or "everything",
        state=state,
        tone=tone,
        made_at=hook.created_at,
    )


def _state_of(hook: Webhook) -> tuple[str, Tone]:
    if not hook.active:
        return "switched off", "bad"
    return ("working", "good") if hook.failing_since == LONG_AGO else ("not answering", "warn")


def delivery_row(delivery: WebhookDelivery) -> DeliveryRow:
    """Return a row of the log."""
    state, tone = _STATES[delivery.state]
    answer = delivery.problem or (
        f"{delivery.status_code} after {delivery.duration_ms:.0f} ms" if delivery.status_code else ""
    )
    return DeliveryRow(
        id=delivery.id,
        kind=delivery.kind,
        state=state,
        tone=tone,
        answer=answer,
        tries=delivery.tries,
        at=delivery.created_at,
        body=delivery.body,
        can_replay=delivery.state in {DeliveryState.DELIVERED, DeliveryState.FAILED},
    )
