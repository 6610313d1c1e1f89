"""The instance, for its operators."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from vitrine.results import Page, Result

if TYPE_CHECKING:
    from vitrine.transport import Transport


class DeadLetter(Result):
    """A message that nobody could handle; `about` are the ids and digests in it."""

    number: int
    subject: str
    reason: str = ""
    at: datetime | None = None
    size: int = 0
    kind: str = ""
    message_id: str = ""
    about: dict[str, str] = Field(default_factory=dict)


class Process(Result):
    """A process of a service; `report` holds what keeps its sandboxes apart."""

    service: str
    holder: str
    version: str = ""
    started_at: datetime | None = None
    heard_at: datetime | None = None
    answers: bool = True
    report: dict[str, Any] = Field(default_factory=dict)


class Health(Result):
    """Which processes and servers answer; `missing` are services of which no process does."""

    processes: tuple[Process, ...] = ()
    servers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    missing: tuple[str, ...] = ()


class Runner(Result):
    """A runner; `report` is what it tells of its workers, memory and starts, None from another release."""

    holder: str
    version: str = ""
    started_at: datetime | None = None
    heard_at: datetime | None = None
    answers: bool = True
    report: dict[str, Any] | None = None


class Waiting(Result):
    """Runs that wait for one device; `more` where there are more than were counted."""

    device: str
    number: int = 0
    more: bool = False
    longest_seconds: float | None = None


class Fleet(Result):
    """All runners and what waits for them; `references` name the versions that workers serve, by digest."""

    runners: tuple[Runner, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    references: dict[str, str] = Field(default_factory=dict)


class Operator:
    """What operators see and do. Every method raises a `vitrine.errors.ClientError`."""

    def __init__(self, transport: Transport) -> None:
        self._call = transport.call

    def health(self) -> Health:
        """Return which processes and servers answer."""
        return Health.model_validate(self._call("GET", "/operator/health"))

    def runners(self) -> Fleet:
        """Return what every runner has at work, and what waits."""
        return Fleet.model_validate(self._call("GET", "/operator/runners"))

    def dead_letters(self, limit: int = 50, after: str | None = None) -> Page[DeadLetter]:
        """Return messages that nobody could handle, the oldest first."""
        wanted: dict[str, Any] = {"limit": limit} | ({"after": after} if after else {})
        return Page[DeadLetter].model_validate(self._call("GET", "/operator/dead-letters", params=wanted))

    def replay(self, number: int) -> DeadLetter:
        """Send a dead letter's message again, once. Raises NotFound."""
        return DeadLetter.model_validate(self._call("POST", f"/operator/dead-letters/{number}/replay"))

    def drop(self, number: int) -> None:
        """Forget a dead letter for good. Raises NotFound."""
        self._call("DELETE", f"/operator/dead-letters/{number}")
