"""Receipts, and the public halves of the keys that signed them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from vitrine_common.documents.base import Document, Index


class Receipt(Document):
    """What was issued for a run or a claim's check. `_id` follows from the subject's: one receipt each.

    The whole envelope stands here (a few kilobytes), so that a receipt outlives the files it names.
    """

    COLLECTION: ClassVar[str] = "receipts"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("version_id", 1), ("created_at", -1))),)

    subject_id: str
    kind: Literal["run", "claim"]
    owner_id: str
    version_id: str
    link_id: str | None = None
    visitor_id: str | None = None
    user_id: str | None = None
    blind: bool = False
    key_id: str
    envelope: str

    @staticmethod
    def id_of(subject_id: str) -> str:
        """Return the id of the receipt of a run or check."""
        return f"receipt_{subject_id}"


class SigningKey(Document):
    """The public half of a key that signs receipts; `_id` is its digest. The private half is in a file."""

    COLLECTION: ClassVar[str] = "signing_keys"
    WRITER: ClassVar[str] = "api"

    public_key: str
    """The 32 bytes as hexadecimal digits."""
    not_before: datetime
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    reason: str = ""
