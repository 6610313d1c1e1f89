"""Share links, as their owner sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import FieldProblem, View


@dataclass(frozen=True, kw_only=True)
class UseBucket:
    """A blind link's runs over some days that are over."""

    since: datetime
    until: datetime
    runs: int
    failed: int
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class LinkRow:
    """A share link, without its token."""

    id: str
    reference: str
    """`owner/model@version`."""
    version_url: str
    access: str
    """`public`, `link` or `restricted`."""
    state: str
    """`active`, `paused`, `expired`, `revoked`, `used_up`."""
    created_at: datetime
    label: str = ""
    recipient: str = ""
    blind: bool = False
    in_aggregate: bool = False
    """Whether its use is told in days and groups alone: it is, or was, blind."""
    buckets: tuple[UseBucket, ...] = ()
    expires_at: datetime | None = None
    runs: int = 0
    opened: int | None = 0
    """How many visitors came; None where it is not told."""
    max_runs: int | None = None
    rate: str = ""
    """Such as `20/h`."""
    max_input_bytes: int | None = None
    has_passcode: bool = False
    emails: int = 0
    embed_origins: tuple[str, ...] = ()
    opened_at: datetime | None = None
    """When it was used last."""
    url: str | None = None
    """Only for public links, which are no secret."""

    @property
    def is_active(self) -> bool:
        """Tell whether it still opens, now or later."""
        return self.state in {"active", "paused", "used_up"}

    @property
    def name(self) -> str:
        """What its owner calls it."""
        return self.recipient or self.label or "Untitled link"

    @property
    def page_url(self) -> str:
        """Address of its own page."""
        return f"/links/{self.id}"


@dataclass(frozen=True, kw_only=True)
class VersionOption:
    """A version that a link may be made for; `value` is sent as `version`."""

    value: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class LinkForm:
    """Fields `version`, `label`, `access`, `passcode`, `emails`, `recipients`, `blind`.

    Further `expires_days`, `max_runs`, `rate`, `max_input`, `embed`. Emails, recipients, origins: one a line.
    """

    versions: tuple[VersionOption, ...]
    version: str = ""
    label: str = ""
    access: str = "link"
    passcode: str = ""
    emails: str = ""
    recipients: str = ""
    blind: bool = False
    expires_days: str = "14"
    max_runs: str = ""
    rate: str = ""
    max_input: str = ""
    embed: str = ""
    problems: tuple[FieldProblem, ...] = ()

    @property
    def has_more(self) -> bool:
        """Tell whether one of the fields that are folded away was filled in or is wrong."""
        folded = {"rate", "max_input", "embed", "recipients"}
        wrong = any(problem.field in folded for problem in self.problems)
        return wrong or bool(self.rate or self.max_input or self.embed or self.recipients)


@dataclass(frozen=True, kw_only=True)
class NewLink:
    """A link just made; everything here is shown this once."""

    url: str
    qr: str
    """The address as an SVG picture."""
    recipient: str = ""
    passcode: str | None = None
    embed: str | None = None
    """HTML for a page that shows it in a frame."""


@dataclass(frozen=True, kw_only=True)
class Links(View):
    """`/links`: links, and the form to make one."""

    template: ClassVar[str] = "links.html"

    links: tuple[LinkRow, ...]
    form: LinkForm
    new: tuple[NewLink, ...] = ()
    warnings: tuple[str, ...] = ()
    """What in a new blind link's texts would tell who wrote them."""
    query: str = ""
    state: str = ""
    """What the list is limited to."""


@dataclass(frozen=True, kw_only=True)
class LinkPage(View):
    """`/links/{id}`: a link's use, and the form that alters it.

    Fields `label`, `expires_days` (empty: stays, 0: never), `max_runs`, `rate`, `max_input`, `embed` and
    `paused`.
    """

    template: ClassVar[str] = "link.html"

    link: LinkRow
    problems: tuple[FieldProblem, ...] = ()
    embed: str | None = None
    """HTML for a page that shows a public link in a frame."""
    qr: str | None = None
    url: str | None = None
    """Of public links alone: others' addresses are not kept."""
