"""Share links, as their owner sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import FieldProblem, View


@dataclass(frozen=True, kw_only=True)
class LinkRow:
    """A share link, without its token."""

    id: str
    reference: str
    """`owner/model@version`."""
    version_url: str
    access: str
    """`public` or `link`."""
    state: str
    """`active`, `expired`, `revoked`, `used_up`."""
    created_at: datetime
    label: str = ""
    expires_at: datetime | None = None
    runs: int = 0
    max_runs: int | None = None
    opened_at: datetime | None = None
    """When it was used last."""
    url: str | None = None
    """Only for public links, which are no secret."""

    @property
    def is_active(self) -> bool:
        """Tell whether it still opens."""
        return self.state == "active"


@dataclass(frozen=True, kw_only=True)
class VersionOption:
    """A version that a link may be made for; `value` is sent as `version`."""

    value: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class LinkForm:
    """Fields `version`, `label`, `access` (public, link), `expires_days`, `max_runs`."""

    versions: tuple[VersionOption, ...]
    version: str = ""
    label: str = ""
    access: str = "link"
    expires_days: str = "14"
    max_runs: str = ""
    problems: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Links(View):
    """`/links`: links, and the form to make one."""

    template: ClassVar[str] = "links.html"

    links: tuple[LinkRow, ...]
    form: LinkForm
    new_url: str | None = None
    """The address of a link just made: shown this once."""
