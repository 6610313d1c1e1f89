"""What an account is told, and how it wants to be told."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from vitrine_common.documents.base import LONG_AGO, Document, Index


def _new_key() -> str:
    return secrets.token_hex(16)


class Notification(Document):
    """One thing that an account is told. `_id` follows from the account, the kind and what it is about.

    `mailing` says whether an e-mail of it is still to be written, not before `mail_due_at`.
    """

    COLLECTION: ClassVar[str] = "notifications"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("user_id", 1), ("created_at", -1))),
        Index(keys=(("user_id", 1), ("unread", 1))),
        Index(keys=(("mailing", 1), ("mail_due_at", 1))),
        Index(keys=(("created_at", 1),)),
    )

    user_id: str
    kind: str
    title: str
    text: str = ""
    path: str = ""
    """Path of the page that shows more."""
    unread: Literal[0, 1] = 1
    mailing: Literal["none", "due", "done"] = "none"
    mail_due_at: datetime = LONG_AGO


class NotificationWishes(Document):
    """What an account wants by e-mail. `_id` is the account's; without a document the defaults hold."""

    COLLECTION: ClassVar[str] = "notification_wishes"
    WRITER: ClassVar[str] = "api"

    mail: dict[str, bool] = {}
    """By kind, its dot as `_`: whether mail is wanted, where that is not the default."""
    mailed_at: dict[str, int] = {}
    """By kind likewise: when the last mail was written, in milliseconds."""
    revision: int = 0
    """Counts changes of `mailed_at`, so that of several writers one wins."""
    key: str = Field(default_factory=_new_key)
    """128 random bits in the addresses that end a kind of mail."""
