"""Addresses that are told of an account's news or of a single run, and every telling."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from vitrine_common.clock import utcnow
from vitrine_common.documents.base import LONG_AGO, Document, Index, WorkDocument
from vitrine_common.states import DeliveryState


class Webhook(Document):
    """An address that is told. Signing needs the secrets themselves, so they are stored."""

    COLLECTION: ClassVar[str] = "webhooks"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("user_id", 1), ("created_at", -1))),)

    user_id: str
    url: str
    kinds: list[str] = []
    """Kinds of news that are told; empty: every kind."""
    secret: str
    """`whsec_…`; messages are signed with it."""
    previous_secret: str = ""
    """The one before, with which messages are signed as well until the next rotation."""
    active: bool = True
    problem: str = ""
    """Why it was switched off."""
    failing_since: datetime = LONG_AGO
    """The first failure since the last success."""

    @property
    def secrets(self) -> list[str]:
        """What messages are signed with."""
        return [secret for secret in (self.secret, self.previous_secret) if secret]


class RunHook(Document):
    """An address that is told of a single run. Its id is the run's; it stands in no list of webhooks."""

    COLLECTION: ClassVar[str] = "run_hooks"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("user_id", 1), ("created_at", -1))),
        Index(keys=(("version_id", 1),)),
        Index(keys=(("ends_at", 1),)),
    )

    user_id: str
    """Who began the run."""
    version_id: str
    url: str
    events: list[str]
    """Of `started`, `output` and `finished`."""
    secret: str
    active: bool = True
    """False when the address said that it wants no more."""
    ends_at: datetime
    """When it is forgotten, with what was sent to it."""

    @property
    def secrets(self) -> list[str]:
        """What messages are signed with."""
        return [self.secret]

    @property
    def lane(self) -> str:
        """What stands for a webhook in messages: those of all runs of an account share its few places."""
        return f"runs:{self.user_id}"


class WebhookDelivery(WorkDocument):
    """One message to one webhook, or about one run.

    `body` is what is sent, to the byte, however often it is tried.
    """

    COLLECTION: ClassVar[str] = "webhook_deliveries"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("webhook_id", 1), ("created_at", -1))),
        Index(keys=(("state", 1), ("due_at", 1))),
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
        Index(keys=(("created_at", 1),)),
    )

    user_id: str
    webhook_id: str
    """A webhook, or the lane of an account's run hooks."""
    run_id: str = ""
    """The run hook that is told; empty for an account's webhook."""
    kind: str
    body: str
    state: DeliveryState = DeliveryState.WAITING
    due_at: datetime = Field(default_factory=utcnow)
    tries: int = 0
    """Tries since it was queued or replayed."""
    status_code: int = 0
    """What the address answered last; 0 where it did not."""
    duration_ms: float = 0.0
    problem: str = ""
