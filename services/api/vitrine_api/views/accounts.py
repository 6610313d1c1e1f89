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
    model: str = ""
    """What it lets its taker work on."""


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """A web login."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    current: bool = False


@dataclass(frozen=True, kw_only=True)
class IdentityRow:
    """A provider's account that logs in to this one."""

    id: str
    title: str
    """Its address there, else what the provider calls it."""
    issuer: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class GoOn(View):
    """`/settings/identities/go`: a link to the provider, for what a form cannot lead to."""

    template: ClassVar[str] = "go_on.html"

    url: str


@dataclass(frozen=True, kw_only=True)
class CollaborationRow:
    """A model and somebody who works on it."""

    model: str
    name: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class QuotaRow:
    """How much of a quota is used; the texts carry their units."""

    title: str
    used: str
    limit: str
    share: int
    """Percent, at most 100."""
    near: bool = False


@dataclass(frozen=True, kw_only=True)
class Forgotten(View):
    """`/reset`: field `email`; `sent` after it was sent."""

    template: ClassVar[str] = "reset.html"

    sent: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewPassword(View):
    """`/reset/TICKET`: fields `password`, `revoke_tokens`."""

    template: ClassVar[str] = "new_password.html"

    ticket: str
    name: str
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConfirmEmail(View):
    """`/settings/email/TICKET`: one button."""

    template: ClassVar[str] = "confirm_email.html"

    ticket: str


@dataclass(frozen=True, kw_only=True)
class Join(View):
    """`/join`: an invite to work on a model; one button."""

    template: ClassVar[str] = "join.html"

    invite: str
    model: str
    inviter: str = ""


@dataclass(frozen=True, kw_only=True)
class ConfirmDeletion(View):
    """`/deletions/new`: fields `kind`, `reference`, `confirm`, and `password` for an account."""

    template: ClassVar[str] = "confirm_deletion.html"

    kind: str
    reference: str
    has_password: bool = True
    problems: tuple[FieldProblem, ...] = ()

    @property
    def back_url(self) -> str:
        """Where it is looked at."""
        name, _, version = self.reference.partition("@")
        match self.kind:
            case "account":
                return "/settings"
            case "model":
                return f"/models/{name}"
            case "version":
                return f"/models/{name}/versions/{version}"
            case "dataset":
                return f"/datasets/{name}/latest"
        return f"/links/{name}"


@dataclass(frozen=True, kw_only=True)
class Collaborators(View):
    """`/models/OWNER/NAME/collaborators`: fields `email`, `send`."""

    template: ClassVar[str] = "collaborators.html"

    owner: str
    name: str
    people: tuple[CollaborationRow, ...]
    invites: tuple[InviteRow, ...] = ()
    new_invite_url: str | None = None
    problems: tuple[FieldProblem, ...] = ()


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
    sessions: tuple[SessionRow, ...] = ()
    identities: tuple[IdentityRow, ...] = ()
    has_password: bool = True
    works_on: tuple[CollaborationRow, ...] = ()
    quotas: tuple[QuotaRow, ...] = ()
    roles: tuple[str, ...] = ()
    problems: tuple[FieldProblem, ...] = ()
