"""Who may use the instance."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from vitrine_common.documents.base import Document, Index

Scope = Literal["read", "write", "run"]
Role = Literal["validator", "chair"]
"""What an account may be on the whole instance beside owner of its own things: a validator approves
versions that others ask to have approved, a chair makes venues. Operators are marked by `User.operator`."""


class User(Document):
    """An account. `name` is the owner part of a version reference."""

    COLLECTION: ClassVar[str] = "users"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("created_at", -1),)),
        Index(keys=(("email", 1),), unique=True),
        Index(keys=(("name", 1),), unique=True),
    )

    email: str
    name: str
    password_hash: str
    """Empty for an account that logs in by a provider and has set none."""
    operator: bool = False
    roles: list[Role] = Field(default_factory=list)
    max_storage_bytes: int | None = None
    """The account's own quotas, where an operator gave it other ones than the instance's."""
    max_runs_per_day: int | None = None
    max_build_seconds_per_day: int | None = None


class Session(Document):
    """A browser's login. `_id` is the SHA-256 of the cookie's token."""

    COLLECTION: ClassVar[str] = "sessions"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("expires_at", 1),)),
        Index(keys=(("user_id", 1),)),
    )

    user_id: str
    expires_at: datetime
    label: str = ""
    """The browser and system that it was opened with."""


class Identity(Document):
    """An account of a login provider that opens an account here. `_id` is a digest of issuer and subject."""

    COLLECTION: ClassVar[str] = "identities"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("user_id", 1),)),)

    user_id: str
    issuer: str
    subject: str
    email: str = ""
    """As the provider told it when it was connected; for people to recognise."""


class ApiToken(Document):
    """A token for the command line and programs; only its SHA-256 is kept."""

    COLLECTION: ClassVar[str] = "tokens"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("token_hash", 1),), unique=True),
        Index(keys=(("user_id", 1),)),
    )

    user_id: str
    label: str
    token_hash: str
    scopes: list[Scope]
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class Invite(Document):
    """The right to make one account, or to work on a model; only the code's SHA-256 is kept."""

    COLLECTION: ClassVar[str] = "invites"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("code_hash", 1),), unique=True),
        Index(keys=(("invited_by", 1), ("created_at", -1))),
    )

    code_hash: str
    email: str | None = None
    invited_by: str
    expires_at: datetime
    used_by: str | None = None
    model_id: str = ""
    """The model that whoever takes the invite may work on; empty for an invite to the instance."""
    model: str = ""
    """`owner/name` of that model."""
    roles: list[Role] = Field(default_factory=list)
    """Roles of the account that is made with it."""


class Collaborator(Document):
    """An account that works on somebody else's model. `_id` is `<model id>:<user id>`."""

    COLLECTION: ClassVar[str] = "collaborators"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("user_id", 1),)),
        Index(keys=(("model_id", 1),)),
    )

    model_id: str
    model: str
    """`owner/name`."""
    owner_id: str
    user_id: str
    name: str
    """The collaborator's user name."""


class AccountTicket(Document):
    """A mailed right to set a new password or to confirm an address. `_id` is its secret's SHA-256."""

    COLLECTION: ClassVar[str] = "account_tickets"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("user_id", 1),)),
        Index(keys=(("expires_at", 1),)),
    )

    user_id: str
    purpose: Literal["password", "email"]
    email: str = ""
    """The address that is confirmed."""
    expires_at: datetime


class KnownDevice(Document):
    """A browser that somebody logged in with before. `_id` is the SHA-256 of its cookie and the account."""

    COLLECTION: ClassVar[str] = "known_devices"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (
        Index(keys=(("user_id", 1),)),
        Index(keys=(("expires_at", 1),)),
    )

    user_id: str
    expires_at: datetime
