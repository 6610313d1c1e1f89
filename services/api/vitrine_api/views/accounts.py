"""Accounts: the front page, login, sign-up, and settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import FieldProblem, View


@dataclass(frozen=True, kw_only=True)
class PublicModel:
    """A model that anyone may open."""

    title: str
    url: str
    description: str = ""
    owner: str | None = None
    input_kinds: tuple[str, ...] = ()
    output_kinds: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Landing(View):
    """`/` for those who are not logged in."""

    template: ClassVar[str] = "landing.html"

    models: tuple[PublicModel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Login(View):
    """`/login`: fields `email` (address or user name), `password`, `next`."""

    template: ClassVar[str] = "login.html"

    email: str = ""
    next_url: str = ""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Signup(View):
    """`/signup`: fields `invite`, `name`, `email`, `password`."""

    template: ClassVar[str] = "signup.html"

    invite: str = ""
    name: str = ""
    email: str = ""
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """An API token, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class InviteRow:
    """An invite; `used_by` is the account made with it."""

    id: str
    created_at: datetime
    expires_at: datetime | None = None
    email: str = ""
    used_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings(View):
    """`/settings`: tokens (fields `name`, `scope` repeated, `expires_days`), invites (`email`)."""

    template: ClassVar[str] = "settings.html"

    tokens: tuple[TokenRow, ...]
    scopes: tuple[str, ...] = ()
    """Scopes that a token may have."""
    new_token: str | None = None
    """A token just made: shown this once."""
    invites: tuple[InviteRow, ...] = ()
    can_invite: bool = False
    new_invite_url: str | None = None
    """An invite just made: shown this once."""
    problems: tuple[FieldProblem, ...] = ()
