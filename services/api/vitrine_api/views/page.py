"""What every page has: the class that names a template, who looks at it, and small shared values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

Tone = Literal["plain", "good", "busy", "warn", "bad"]


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything that one page or fragment shows; `template` is relative to `templates/`."""

    template: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Account:
    """The person who is logged in."""

    name: str
    """User name, as in `owner/model`."""
    email: str = ""
    is_admin: bool = False


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One sentence at the top of a page, e.g. after a form was sent."""

    text: str
    tone: Tone = "good"


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """What a page knows about the request that it answers."""

    now: datetime
    """Time-zone aware; relative times are counted from it."""
    csrf_token: str
    """Value of the field `csrf_token` in every form."""
    account: Account | None = None
    path: str = "/"
    """Path of the request, to mark the current place in the navigation."""
    notice: Notice | None = None
    unread: int = 0
    """Notifications that the account has not read, up to a hundred."""
    signup_open: bool = False
    """Whether anyone may sign up without an invite."""
    provider: str = ""
    """What people call the provider that they may log in by, if there is one."""


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """What is wrong with one field of a form; `field` may be empty for the form as a whole.

    Model inputs are named `inputs.NAME`, as in problem details.
    """

    field: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One row of a plain two-column list; `code` shows the value in monospace, `url` links it."""

    title: str
    value: str
    code: bool = False
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Addresses of the neighbouring pages of a list, where there are any."""

    newer_url: str | None = None
    older_url: str | None = None
