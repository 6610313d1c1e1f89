"""Webhooks and notifications of the account, by the HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vitrine.results import Page, Result
from vitrine.transport import Transport


class Webhook(Result):
    """An address that is told of the account's news; `secret` only when it is new."""

    id: str
    url: str
    kinds: tuple[str, ...] = ()
    active: bool = True
    problem: str = ""
    created_at: datetime | None = None
    secret: str | None = None


class Delivery(Result):
    """A message to a webhook."""

    id: str
    kind: str
    state: str
    tries: int = 0
    status_code: int = 0
    problem: str = ""
    created_at: datetime | None = None


class Notification(Result):
    """Something that the account was told."""

    id: str
    kind: str
    title: str
    text: str = ""
    path: str = ""
    unread: bool = False
    created_at: datetime | None = None


class News:
    """What the account is told. Every method raises a `vitrine.errors.ClientError`."""

    def __init__(self, transport: Transport) -> None:
        self._call = transport.call

    def webhooks(self) -> Page[Webhook]:
        """Return the webhooks, newest first."""
        return Page[Webhook].model_validate(self._call("GET", "/webhooks"))

    def add_webhook(self, url: str, kinds: Sequence[str] = ()) -> Webhook:
        """Have an address told; without `kinds`, of everything. The secret is told this once."""
        return Webhook.model_validate(
            self._call("POST", "/webhooks", json={"url": url, "kinds": list(kinds)})
        )

    def renew_secret(self, webhook_id: str) -> Webhook:
        """Make a new secret, told this once; messages carry a signature by the old one as well."""
        return Webhook.model_validate(self._call("POST", f"/webhooks/{webhook_id}/secret"))

    def test_webhook(self, webhook_id: str) -> Delivery:
        """Send a message that says nothing but that it arrived."""
        return Delivery.model_validate(self._call("POST", f"/webhooks/{webhook_id}/test"))

    def deliveries(self, webhook_id: str) -> Page[Delivery]:
        """Return the last messages to a webhook."""
        return Page[Delivery].model_validate(self._call("GET", f"/webhooks/{webhook_id}/deliveries"))

    def remove_webhook(self, webhook_id: str) -> None:
        """Remove a webhook and the log of its messages."""
        self._call("DELETE", f"/webhooks/{webhook_id}")

    def notifications(self, limit: int = 20) -> Page[Notification]:
        """Return what the account was told, newest first."""
        return Page[Notification].model_validate(self._call("GET", "/notifications", params={"limit": limit}))
