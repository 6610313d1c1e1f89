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
        Index(keys=(("email", 1),), unique=True),
        Index(keys=(("name", 1),), unique=True),
    )

    email: str
    name: str
    password_hash: str
    operator: bool = False
    roles: list[Role] = Field(default_factory=list)


class Session(Document):
    """A browser's login. `_id` is the SHA-256 of the cookie's token."""

    COLLECTION: ClassVar[str] = "sessions"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("expires_at", 1),)),)

    user_id: str
    expires_at: datetime


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
    """The right to make one account; only the code's SHA-256 is kept."""

    COLLECTION: ClassVar[str] = "invites"
    WRITER: ClassVar[str] = "api"
    INDEXES: ClassVar[tuple[Index, ...]] = (Index(keys=(("code_hash", 1),), unique=True),)

    code_hash: str
    email: str | None = None
    invited_by: str
    expires_at: datetime
    used_by: str | None = None
