"""Training trials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import Fact, View

FINAL_STATES = frozenset({"succeeded", "failed", "stopped_early", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A metric: its last value, its extremes, and at which step it was last seen."""

    name: str
    last: float
    lowest: float
    highest: float
    count: int
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResourceRow:
    """A sampled resource in words: `Memory`, `412 MB`, `1.2 GB`."""

    title: str
    mean: str
    peak: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class TrialOutput:
    """A file that the trial left: output or checkpoint."""

    path: str
    size: int
    digest: str
    kind: str = "output"
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """One trial, as its status fragment shows it."""

    id: str
    state: str
    created_at: datetime
    finished_at: datetime | None = None
    reason: str | None = None
    message: str = ""
    total_ms: float | None = None
    progress: float | None = None
    metrics: tuple[MetricRow, ...] = ()
    resources: tuple[ResourceRow, ...] = ()
    outputs: tuple[TrialOutput, ...] = ()
    log_tail: str = ""
    can_cancel: bool = True
    version_reference: str = ""
    """The version that was registered from it."""
    version_url: str = ""

    @property
    def is_final(self) -> bool:
        """Tell whether nothing will change any more."""
        return self.state in FINAL_STATES

    @property
    def url(self) -> str:
        """Address of its page."""
        return f"/trials/{self.id}"

    @property
    def events_url(self) -> str:
        """Address of its event stream."""
        return f"/trials/{self.id}/events"


@dataclass(frozen=True, kw_only=True)
class TrialStatus(View):
    """Fragment of a trial's events `status`, `progress` and `done`."""

    template: ClassVar[str] = "fragments/trial_status.html"

    trial: TrialView


@dataclass(frozen=True, kw_only=True)
class Trial(View):
    """`/trials/{id}`."""

    template: ClassVar[str] = "trial.html"

    trial: TrialView
    title: str
    facts: tuple[Fact, ...] = ()
    """Command, environment, seed, parameters, lineage."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial in a list; `metric` is its headline, e.g. `accuracy 0.972`."""

    id: str
    title: str
    state: str
    created_at: datetime
    metric: str = ""
    total_ms: float | None = None
    version_reference: str = ""

    @property
    def url(self) -> str:
        """Address of its page."""
        return f"/trials/{self.id}"


@dataclass(frozen=True, kw_only=True)
class Trials(View):
    """`/trials`: trials, newest first."""

    template: ClassVar[str] = "trials.html"

    trials: tuple[TrialRow, ...]
