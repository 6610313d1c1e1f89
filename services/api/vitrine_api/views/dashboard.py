"""What an account sees first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import ClassVar

from vitrine_api.views.links import LinkRow
from vitrine_api.views.models import ModelRow
from vitrine_api.views.page import Tone, View
from vitrine_api.views.runs import RunRow


@dataclass(frozen=True, kw_only=True)
class DayBar:
    """A day in the chart; `x`, `width`, `y`, `height` and `failed_height` are in the chart's own units."""

    day: date
    runs: int
    failed: int
    x: float
    width: float
    y: float
    height: float
    failed_y: float
    failed_height: float

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        runs = f"{self.runs} {'run' if self.runs == 1 else 'runs'}"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.day:%-d %B}: {runs}{failed}"


@dataclass(frozen=True, kw_only=True)
class RunChart:
    """Runs by day, as bars."""

    width: int
    height: int
    bars: tuple[DayBar, ...]
    most: int
    """Runs of the busiest day."""

    @property
    def total(self) -> int:
        """Runs of all days."""
        return sum(bar.runs for bar in self.bars)

    @property
    def failed(self) -> int:
        """Runs that failed."""
        return sum(bar.failed for bar in self.bars)


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """Something to look at."""

    title: str
    text: str
    url: str
    at: datetime
    tone: Tone = "warn"


@dataclass(frozen=True, kw_only=True)
class Dashboard(View):
    """`/` for those who are logged in."""

    template: ClassVar[str] = "dashboard.html"

    models: tuple[ModelRow, ...]
    chart: RunChart
    attention: tuple[AttentionRow, ...] = ()
    links: tuple[LinkRow, ...] = ()
    runs: tuple[RunRow, ...] = ()
    more_models: bool = False
    """Whether there are more than the ones shown."""
    api_url: str = ""
    """This server's address, for the commands shown when there is no model yet."""
