"""The operator's pages, and the audit log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import Fact, FieldProblem, Paging, View


@dataclass(frozen=True, kw_only=True)
class ProcessRow:
    """A process of a service."""

    service: str
    holder: str
    version: str
    started_at: datetime
    heard_at: datetime | None
    answers: bool
    isolation: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """One of the three servers."""

    name: str
    ok: bool
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """What waits for one kind of work."""

    stream: str
    name: str
    subject: str
    waiting: int
    working: int
    again: int


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting in effect."""

    name: str
    value: str
    is_default: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class Operator(View):
    """`/operator`: how the instance is."""

    template: ClassVar[str] = "operator.html"

    processes: tuple[ProcessRow, ...]
    servers: tuple[ServerRow, ...]
    missing: tuple[str, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    storage: tuple[Fact, ...] = ()
    dead_letters: int = 0
    settings: tuple[SettingRow, ...] = ()

    @property
    def well(self) -> bool:
        """Whether everything answers."""
        return not self.missing and all(server.ok for server in self.servers)


@dataclass(frozen=True, kw_only=True)
class DeadLetterRow:
    """A message that nobody could handle."""

    number: int
    kind: str
    subject: str
    reason: str
    at: datetime
    size: int
    about: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeadLetters(View):
    """`/operator/dead-letters`."""

    template: ClassVar[str] = "dead_letters.html"

    letters: tuple[DeadLetterRow, ...]
    total: int = 0
    paging: Paging = field(default_factory=Paging)


@dataclass(frozen=True, kw_only=True)
class UseRow:
    """One quota of an account."""

    title: str
    text: str
    share: float
    """In percent, at most 100."""
    near: bool = False


@dataclass(frozen=True, kw_only=True)
class UserRow:
    """An account."""

    name: str
    email: str
    created_at: datetime
    roles: tuple[str, ...] = ()
    quotas: tuple[UseRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Users(View):
    """`/operator/users`."""

    template: ClassVar[str] = "users.html"

    users: tuple[UserRow, ...]
    paging: Paging = field(default_factory=Paging)


@dataclass(frozen=True, kw_only=True)
class QuotaField:
    """One quota in the form of an account; `value` is empty where the instance's counts."""

    name: str
    title: str
    hint: str
    value: str
    of_all: str
    """The instance's."""


@dataclass(frozen=True, kw_only=True)
class UserPage(View):
    """`/operator/users/NAME`: fields `role` repeated; and one for each quota."""

    template: ClassVar[str] = "user.html"

    user: UserRow
    operator: bool = False
    given: tuple[str, ...] = ()
    """Roles beside that of an operator."""
    fields: tuple[QuotaField, ...] = ()
    is_self: bool = False
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MailRow:
    """A mail of the folder."""

    to: str
    subject: str
    written_at: datetime
    text: str


@dataclass(frozen=True, kw_only=True)
class Mails(View):
    """`/operator/mails`: mails of an instance without a mail server."""

    template: ClassVar[str] = "mails.html"

    mails: tuple[MailRow, ...]
    by_server: bool = False
    """Whether mails leave by a mail server, so that there is no folder."""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """One grant, use or revocation."""

    at: datetime
    actor: str
    action: str
    kind: str
    subject: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Audit(View):
    """`/audit`, and `/operator/audit` for everything."""

    template: ClassVar[str] = "audit.html"

    entries: tuple[AuditRow, ...]
    url: str = "/audit"
    action: str = ""
    actions: tuple[str, ...] = ()
    of_all: bool = False
    csv_url: str = ""
    paging: Paging = field(default_factory=Paging)
