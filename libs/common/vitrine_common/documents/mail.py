"""E-mail on its way."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from vitrine_common.clock import utcnow
from vitrine_common.documents.base import Index, WorkDocument
from vitrine_common.states import MailState


class Mail(WorkDocument):
    """One e-mail to one person, kept until it is sent. The text is deleted then: it may hold a code."""

    COLLECTION: ClassVar[str] = "mails"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("state", 1), ("due_at", 1))),
        Index(keys=(("state", 1), ("lease_expires_at", 1))),
    )

    state: MailState = MailState.WAITING
    to: str
    subject: str
    text: str
    headers: dict[str, str] = {}
    """Headers beside the usual ones."""
    due_at: datetime = Field(default_factory=utcnow)
    """Not before this; later after each failure."""
    expires_at: datetime
    """Not after this: nobody needs the code of yesterday."""
    problem: str = ""
