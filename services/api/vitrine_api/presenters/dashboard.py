"""The front page of an account."""

from __future__ import annotations

from collections.abc import Sequence

from vitrine_api import formats, views
from vitrine_api.dashboard import Attention, Day
from vitrine_api.presenters.models import version_url

_WIDTH, _HEIGHT, _GAP = 700, 120, 8


def run_chart(days: Sequence[Day]) -> views.RunChart:
    """Return the days as bars, the busiest as high as the chart."""
    most = max((day.runs for day in days), default=0)
    step = _WIDTH / max(1, len(days))
    return views.RunChart(
        width=_WIDTH,
        height=_HEIGHT,
        most=most,
        bars=tuple(_bar(day, index * step, step, most) for index, day in enumerate(days)),
    )


def _bar(day: Day, x: float, step: float, most: int) -> views.DayBar:
    height = _height(day.runs, most)
    failed = min(height, _height(day.failed, most))
    return views.DayBar(
        day=day.day,
        runs=day.runs,
        failed=day.failed,
        x=round(x + _GAP / 2, 1),
        width=round(step - _GAP, 1),
        y=round(_HEIGHT - height, 1),
        height=round(height, 1),
        failed_y=round(_HEIGHT - failed, 1),
        failed_height=round(failed, 1),
    )


def _height(count: int, most: int) -> float:
    """Return a bar's height: in proportion, but never so small that one run is no run."""
    return max(3.0, count / most * _HEIGHT) if count else 0.0


def attention_row(one: Attention) -> views.AttentionRow:
    """Return what needs to be looked at, in words."""
    version, link = one.version, one.link
    if link is None:
        problem = version.build_problem
        return views.AttentionRow(
            title=f"{version.reference} could not be built",
            text=problem.message if problem else "Its environment could not be made.",
            url=version_url(version),
            at=one.at,
            tone="bad",
        )
    name = link.recipient or link.label or f"A link to {version.reference}"
    url = f"/links/{link.id}"
    if one.kind == "link_expiring":
        until = formats.moment(link.expires_at) if link.expires_at else ""
        text = f"It works until {until}. Open it to give it more time."
        return views.AttentionRow(title=f"{name} expires soon", text=text, url=url, at=one.at)
    text = f"{formats.number(link.runs_used)} of {formats.number(link.max_runs)} runs are taken."
    ended = one.kind == "link_used_up"
    title = f"{name} is used up" if ended else f"{name} is nearly used up"
    return views.AttentionRow(title=title, text=text, url=url, at=one.at, tone="bad" if ended else "warn")
