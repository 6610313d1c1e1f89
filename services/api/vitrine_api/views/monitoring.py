"""What the monitor knows of a version: counts, latencies, outcomes, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vitrine_api.views.page import View


@dataclass(frozen=True, kw_only=True)
class LatencyRow:
    """Percentiles of one phase (`Compute`, `Cold start`, …), in milliseconds."""

    title: str
    count: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count with a name: an outcome, a predicted class, a bin of a range."""

    title: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """How often which value was seen; `title` names the output or input."""

    title: str
    shares: tuple[Share, ...]

    @property
    def total(self) -> int:
        """Return the number of values."""
        return sum(share.count for share in self.shares)

    @property
    def is_short(self) -> bool:
        """Tell whether all names fit in a narrow column."""
        return all(len(share.title) <= 16 for share in self.shares)

    @property
    def largest(self) -> int:
        """Return the largest count, at least 1, for the length of bars."""
        return max([1, *(share.count for share in self.shares)])


@dataclass(frozen=True, kw_only=True)
class MonitorSummary:
    """Scoring data of one version."""

    runs: int
    since: datetime | None = None
    last_run_at: datetime | None = None
    outcomes: Distribution | None = None
    latencies: tuple[LatencyRow, ...] = ()
    predictions: tuple[Distribution, ...] = ()
    inputs: tuple[Distribution, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Monitor(View):
    """`/models/{owner}/{name}/versions/{version}/monitor`."""

    template: ClassVar[str] = "monitor.html"

    reference: str
    version_url: str
    summary: MonitorSummary
