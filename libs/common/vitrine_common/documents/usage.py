"""What accounts use of their quotas."""

from __future__ import annotations

from typing import ClassVar

from vitrine_common.documents.base import Document, Index


class AccountUse(Document):
    """What an account uses: `_id` is `<user id>:storage`, or `<user id>:<day>` (UTC, `2026-05-04`)."""

    COLLECTION: ClassVar[str] = "account_use"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("user_id", 1),)),)

    user_id: str
    storage_bytes: int = 0
    runs: int = 0
    blind_runs: int = 0
    """By blind links: counted apart and told to nobody, since a counter tells when it moves."""
    build_seconds: int = 0


class BuildCharge(Document):
    """Build time that was reserved for a build until it ends. `_id` is the build's."""

    COLLECTION: ClassVar[str] = "build_charges"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("user_id", 1),)),)

    user_id: str
    use_id: str
    seconds: int
