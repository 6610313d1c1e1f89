"""Notifications and webhooks, as pages show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import FieldProblem, Paging, Tone, View


@dataclass(frozen=True, kw_only=True)
class NotificationRow:
    """One thing that the account was told; `url` marks it as read and leads on."""

    title: str
    text: str
    url: str
    unread: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class KindChoice:
    """A kind of news, and whether it is chosen."""

    name: str
    title: str
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Notifications(View):
    """What the account was told, and what of it is mailed."""

    template: ClassVar[str] = "notifications.html"

    rows: tuple[NotificationRow, ...]
    mail: tuple[KindChoice, ...]
    email: str
    unread: int
    paging: Paging = field(default_factory=Paging)


@dataclass(frozen=True, kw_only=True)
class Unsubscribed(View):
    """The end of a kind of mails: to be confirmed, or done."""

    template: ClassVar[str] = "unsubscribe.html"

    title: str
    done: bool
    url: str


@dataclass(frozen=True, kw_only=True)
class WebhookRow:
    """A webhook in the list."""

    id: str
    url: str
    told_of: str
    state: str
    tone: Tone
    made_at: datetime


@dataclass(frozen=True, kw_only=True)
class Webhooks(View):
    """The account's webhooks."""

    template: ClassVar[str] = "webhooks.html"

    rows: tuple[WebhookRow, ...]
    kinds: tuple[KindChoice, ...]
    url: str = ""
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeliveryRow:
    """One message to a webhook."""

    id: str
    kind: str
    state: str
    tone: Tone
    answer: str
    tries: int
    at: datetime
    body: str
    can_replay: bool


@dataclass(frozen=True, kw_only=True)
class WebhookPage(View):
    """One webhook and the last messages to it; `new_secret` is shown once."""

    template: ClassVar[str] = "webhook.html"

    row: WebhookRow
    problem: str
    can_switch_on: bool
    deliveries: tuple[DeliveryRow, ...]
    new_secret: str | None = None
