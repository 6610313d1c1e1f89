"""Whether a link works now, and if not, why."""

from __future__ import annotations

from typing import ClassVar, Literal

from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink
from vitrine_common.errors import Gone, VitrineError

LinkState = Literal["active", "paused", "expired", "revoked", "used_up"]
Way = Literal["passcode", "email"]


class LinkPaused(VitrineError):
    """The owner has closed the link for a while."""

    status = 403
    title = "This link is paused"


class LinkLocked(VitrineError):
    """A restricted link, and a holder who has not got through its door yet.

    Args:
        ways: how to get through: by a passcode, or by a code that is sent to an address on the list.
    """

    status = 401
    title = "This link is locked"
    WORDS: ClassVar[dict[tuple[Way, ...], str]] = {
        ("passcode",): "this link asks for the passcode that came with it",
        ("email",): "this link asks for a code, which is sent to the e-mail addresses on its list",
        (
            "passcode",
            "email",
        ): "this link asks for its passcode, or for a code sent to an address on its list",
    }

    def __init__(self, ways: tuple[Way, ...]) -> None:
        super().__init__(self.WORDS.get(ways, "this link opens for nobody; ask its owner for another"))
        self.ways = ways


def ways_of(link: ShareLink) -> tuple[Way, ...]:
    """Return how to get through a restricted link's door."""
    ways: list[Way] = []
    if link.passcode_hash:
        ways.append("passcode")
    if link.emails:
        ways.append("email")
    return tuple(ways)


def link_state(link: ShareLink) -> LinkState:
    """Return why a link does or does not work now."""
    if link.revoked_at is not None:
        return "revoked"
    if link.expires_at is not None and link.expires_at <= utcnow():
        return "expired"
    if link.paused:
        return "paused"
    if link.max_runs is not None and link.runs_used >= link.max_runs:
        return "used_up"
    return "active"


def check_usable(link: ShareLink) -> None:
    """Raise Gone for a link that was revoked or has expired, LinkPaused for one that is paused."""
    match link_state(link):
        case "revoked":
            raise Gone("this link was revoked by its owner")
        case "expired":
            raise Gone("this link has expired; ask its owner for another")
        case "paused":
            raise LinkPaused("this link is paused by its owner; come back later")


def seconds_left(link: ShareLink | None) -> float | None:
    """Return how long the link goes on by the clock; None for ever, and without a link."""
    if link is None or link.expires_at is None:
        return None
    return (link.expires_at - utcnow()).total_seconds()
