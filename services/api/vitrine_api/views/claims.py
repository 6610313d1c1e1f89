"""Claims as the paper's table, and the checks of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import Fact, View

FINAL_CHECK_STATES = frozenset({"reproduced", "differs", "failed", "cancelled", "expired"})
VERDICT_MARKS = {"reproduced": "✓", "differs": "≠", "failed": "✕"}


@dataclass(frozen=True, kw_only=True)
class ClaimExtend:
    """Which files of their own a reader may add to a claim's dataset."""

    max_files: int
    max_bytes: int
    accept: str = ""
    """For the file field: `.png,.jpg`."""
    label: str = ""
    """What is asked for each file."""


@dataclass(frozen=True, kw_only=True)
class ClaimEntry:
    """One claim, and what came of it."""

    name: str
    statement: str
    expected: str
    tolerance: str = ""
    """In words: `± 0.01`, `± 5 %, or higher`."""
    unit: str = ""
    verdict: str = ""
    """`reproduced`, `differs` or `failed` of the newest check; empty when there is none."""
    measured: str = ""
    note: str = ""
    """What the verdict is of: `your check, 5 min ago`, or `the newest check, 3 March 2026`."""
    tally: str = ""
    """How all checks ended, in words."""
    dataset: str = ""
    repeats: int = 1
    extend: ClaimExtend | None = None
    check_url: str = ""
    """The reader's own newest check."""
    unavailable: str = ""
    """Why it cannot be checked now, in words."""

    @property
    def mark(self) -> str:
        """Return a sign for the verdict, for those who do not see its colour."""
        return VERDICT_MARKS.get(self.verdict, "")


@dataclass(frozen=True, kw_only=True)
class ClaimsRow:
    """A row of the table; each cell has the claims of its column."""

    title: str
    cells: tuple[tuple[ClaimEntry, ...], ...]


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """A check in a list."""

    id: str
    claim: str
    state: str
    created_at: datetime
    url: str
    measured: str = ""
    source: str = ""
    own_inputs: int = 0


@dataclass(frozen=True, kw_only=True)
class ClaimsTable:
    """The claims of a version, laid out as the paper has them."""

    columns: tuple[str, ...]
    rows: tuple[ClaimsRow, ...]
    entries: tuple[ClaimEntry, ...]
    start_url: str
    """Where the forms post to."""
    reference: str = ""
    """`owner/model@version`, sent along by owners' forms."""
    can_check: bool = True
    checks: tuple[CheckRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RepeatRow:
    """One repeat of a check."""

    number: int
    value: str
    duration_ms: float | None = None
    peak_memory_bytes: int | None = None
    reason: str = ""
    message: str = ""
    log_tail: str = ""


@dataclass(frozen=True, kw_only=True)
class OwnInputRow:
    """A file that the reader added."""

    filename: str
    size: int
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckView:
    """A check, as its status fragment and its page show it."""

    id: str
    claim: str
    statement: str
    state: str
    created_at: datetime
    url: str
    expected: str
    tolerance: str = ""
    unit: str = ""
    verdict: str = ""
    """Empty where there is none, or it is not the reader's to see."""
    measured: str = ""
    spread: str = ""
    difference: str = ""
    repeats: tuple[RepeatRow, ...] = ()
    repeats_wanted: int = 1
    repeat: int = 0
    """The one that is under way, from 1."""
    ahead: int | None = None
    reason: str | None = None
    message: str = ""
    own_inputs: tuple[OwnInputRow, ...] = ()
    own_inputs_count: int = 0
    facts: tuple[Fact, ...] = ()
    """Dataset, duration, memory, hardware, digests."""
    log_tail: str = ""
    receipt_url: str = ""
    can_cancel: bool = True
    by_link: bool = False

    @property
    def is_final(self) -> bool:
        """Tell whether nothing will change any more."""
        return self.state in FINAL_CHECK_STATES

    @property
    def mark(self) -> str:
        """Return a sign for the verdict."""
        return VERDICT_MARKS.get(self.verdict, "")

    @property
    def done(self) -> float:
        """Return how far it is, from 0 to 1."""
        return min(1.0, len(self.repeats) / self.repeats_wanted)

    @property
    def events_url(self) -> str:
        """Address of its event stream: `status`, `progress`, `done`, each with an HTML fragment."""
        return self.url + "/events"

    @property
    def cancel_url(self) -> str:
        """Where the cancel button posts to."""
        return self.url + "/cancel"


@dataclass(frozen=True, kw_only=True)
class CheckStatus(View):
    """Fragment of the events `status` and `done`: all of a check's state and verdict."""

    template: ClassVar[str] = "fragments/check_status.html"

    check: CheckView


@dataclass(frozen=True, kw_only=True)
class CheckProgress(View):
    """Fragment of the event `progress`: which repeat, and the tail of the log."""

    template: ClassVar[str] = "fragments/check_progress.html"

    check: CheckView


@dataclass(frozen=True, kw_only=True)
class CheckPanel(View):
    """Fragment answering a form sent by script: the check with its live status."""

    template: ClassVar[str] = "fragments/check_live.html"

    check: CheckView


@dataclass(frozen=True, kw_only=True)
class CheckPage(View):
    """`/s/{token}/claims/checks/{id}` and `/claims/checks/{id}`."""

    template: ClassVar[str] = "check.html"

    check: CheckView
    model_title: str
    back_url: str
    reference: str = ""
    """`owner/model@version`, for owners."""
