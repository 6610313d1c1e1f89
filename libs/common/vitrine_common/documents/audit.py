"""Who granted, used or revoked what."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.documents.base import Document, Index


class AuditEntry(Document):
    """One grant, use or revocation. Never inputs or addresses, nor whoever uses a blind link.

    `actor` is a user's id, `link:<id>` for whoever holds that link, or `system`; `kind` (`share link`) and
    `subject` (an id) say what it was done to; `owner_id` is the account in whose log it stands, empty for
    the operator's alone.
    """

    COLLECTION: ClassVar[str] = "audit"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("actor", 1),)),
        Index(keys=(("subject", 1),)),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("action", 1), ("created_at", -1))),
        Index(keys=(("action", 1), ("created_at", -1))),
        Index(keys=(("created_at", -1),)),
    )

    actor: str
    action: str
    kind: str = ""
    subject: str
    owner_id: str = ""
