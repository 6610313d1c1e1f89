"""The showcase: what the holder of a share link sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from vitrine_api.views.fields import AnyField
from vitrine_api.views.page import View
from vitrine_api.views.runs import RunRow, RunView


@dataclass(frozen=True, kw_only=True)
class Showcase(View):
    """`/s/{token}`: form, result, model card and this visitor's runs."""

    template: ClassVar[str] = "showcase.html"

    token: str
    title: str
    fields: tuple[AnyField, ...]
    description: str = ""
    owner: str | None = None
    """Shown unless the link hides it."""
    version: str = ""
    digest: str | None = None
    """The version's digest, for those who cite it."""
    card: str = ""
    """The model card, in Markdown."""
    history: tuple[RunRow, ...] = ()
    run: RunView | None = None
    """The run to show when the page opens."""
    expires_at: datetime | None = None
    max_runs: int | None = None
    runs_left: int | None = None
    problem: str | None = None
    """What was wrong with the form as a whole (plain POST that was refused)."""
    unavailable: str | None = None
    """Why nothing can be run now, in words; the form is not offered."""

    @property
    def run_url(self) -> str:
        """Where the form posts to."""
        return f"/s/{self.token}/runs"

    @property
    def is_used_up(self) -> bool:
        """Tell whether the link's runs are all spent."""
        return self.runs_left is not None and self.runs_left <= 0


LinkEnd = Literal["expired", "revoked", "unknown"]


@dataclass(frozen=True, kw_only=True)
class LinkUnavailable(View):
    """A share link that opens nothing: answered with 410 (expired, revoked) or 404 (unknown)."""

    template: ClassVar[str] = "link_unavailable.html"

    end: LinkEnd
    ended_at: datetime | None = None
