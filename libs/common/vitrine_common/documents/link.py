"""Share links, and who has got through the door of a restricted one."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from vitrine_common.documents.base import LONG_AGO, Document, Index

Access = Literal["public", "link", "restricted"]


def _new_key() -> str:
    return secrets.token_hex(32)


class ShareLink(Document):
    """A right to run one version, held by whoever holds the token.

    Only the token's SHA-256 is kept, but for public links: those are listed for everybody, so their
    token is no secret and stands in `public_token`.
    """

    COLLECTION: ClassVar[str] = "links"
    WRITER: ClassVar[str] = "api"
    TELLS: ClassVar[bool] = True
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("token_hash", 1),), unique=True),
        Index(keys=(("owner_id", 1), ("created_at", -1))),
        Index(keys=(("owner_id", 1), ("expires_at", 1))),
        Index(keys=(("version_id", 1),)),
        Index(keys=(("access", 1), ("created_at", -1))),
        Index(keys=(("group_id", 1),)),
    )

    token_hash: str
    public_token: str | None = None
    token_hint: str
    owner_id: str
    version_id: str
    version_digest: str
    label: str = ""
    recipient: str = ""
    """For whom it was made, in the owner's words; never told to holders."""
    venue_id: str = ""
    """The venue that it belongs to, which then is its `owner_id` as well: no account manages it."""
    group_id: str = ""
    """Links that were made together, one for each recipient."""
    access: Access = "link"
    passcode_hash: str | None = None
    """Argon2id; opens a restricted link."""
    emails: list[str] = []
    """Addresses that may have a one-time code for a restricted link; lower case."""
    blind: bool = False
    """Holders learn nothing of the owner, the owner nothing of single holders: `vitrine_api.blindness`."""
    key: str = Field(default_factory=_new_key)
    """256 random bits, told to nobody: alias, file names and commitments of a blind link follow from it."""
    identities: list[str] = []
    """What would tell who the owner is, as it was when a blind link was made."""
    embed_origins: list[str] = []
    """Origins whose pages may show the link in a frame; `*` for any."""
    expires_at: datetime | None = None
    max_runs: int | None = None
    runs_used: int = 0
    rate_runs: int | None = None
    """Most runs in any `rate_seconds`."""
    rate_seconds: int = 3600
    rate_times: list[int] = []
    """When runs were taken from the rate, in milliseconds; compared and set by `rate_revision`."""
    rate_revision: int = 0
    max_input_bytes: int | None = None
    opened: int = 0
    """How many visitors came."""
    paused: bool = False
    last_run_at: datetime | None = None
    revoked_at: datetime | None = None


class LinkPass(Document):
    """A browser or program that got through a restricted link's door. `_id` is its secret's SHA-256."""

    COLLECTION: ClassVar[str] = "link_passes"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("link_id", 1),)),
        Index(keys=(("expires_at", 1),)),
    )

    link_id: str
    expires_at: datetime


class LinkCode(Document):
    """A one-time code that was sent, or seemed to be. `_id` is a hash of the link and the address."""

    COLLECTION: ClassVar[str] = "link_codes"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("expires_at", 1),)),)

    code_hash: str
    salt: str
    attempts_left: int
    sent_at: datetime
    expires_at: datetime


class LinkAttempts(Document):
    """Wrong answers at doors: of one link, or of one address. `_id` says of what, addresses hashed."""

    COLLECTION: ClassVar[str] = "link_attempts"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("last_at", 1),)),)

    failures: int = 0
    locked_until: datetime = LONG_AGO
    last_at: datetime = LONG_AGO
