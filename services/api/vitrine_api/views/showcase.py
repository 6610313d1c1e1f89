"""The showcase: what the holder of a share link sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from vitrine_api.views.cards import CardFacts
from vitrine_api.views.claims import ClaimsTable
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
    claims: ClaimsTable | None = None
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

    link_url: str = ""
    """The link's own address, to be handed on."""
    facts: CardFacts | None = None
    """What the model card's front matter says."""
    place: str = ""
    """Where the link's pages begin, if not at `/s/{token}`."""
    embedded: bool = False
    """Whether it stands in a frame of another site's page."""

    @property
    def run_url(self) -> str:
        """Where the form posts to."""
        return f"{self.place or f'/s/{self.token}'}/runs"

    @property
    def watch_url(self) -> str:
        """Event stream that tells when the link ends: `ended`, with a fragment."""
        return f"{self.place or f'/s/{self.token}'}/watch"

    @property
    def compare_url(self) -> str:
        """Where two runs are put side by side."""
        return f"{self.place or f'/s/{self.token}'}/compare"

    @property
    def qr_url(self) -> str:
        """Picture of the link's address."""
        return f"{self.place or f'/s/{self.token}'}/qr.svg"

    @property
    def is_used_up(self) -> bool:
        """Tell whether the link's runs are all spent."""
        return self.runs_left is not None and self.runs_left <= 0


LinkEnd = Literal["expired", "revoked", "unknown", "paused"]


@dataclass(frozen=True, kw_only=True)
class LinkUnavailable(View):
    """A share link that opens nothing: 410 (expired, revoked), 404 (unknown), 403 (paused)."""

    template: ClassVar[str] = "link_unavailable.html"

    end: LinkEnd
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LinkEnded(View):
    """Fragment of the event `ended`: it takes the place of an open page."""

    template: ClassVar[str] = "fragments/link_ended.html"

    end: LinkEnd
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LinkGate(View):
    """The door of a restricted link: fields `passcode`; `email`; `email` and `code`."""

    template: ClassVar[str] = "link_gate.html"

    token: str
    ways: tuple[str, ...]
    """`passcode`, `email`."""
    email: str = ""
    """To which a code was sent, or seems to have been; asks for the code where it is set."""
    problem: str | None = None
    embedded: bool = False
    """In a frame: leads out of it, because the pass is a cookie."""

    @property
    def action(self) -> str:
        """Where its forms post to."""
        return f"/s/{self.token}/unlock"
