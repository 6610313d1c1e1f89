"""What the monitor knows of a version, for its page."""

from __future__ import annotations

from collections.abc import Mapping

from vitrine_api import views
from vitrine_api.monitoring import Summary

_PHASES = {"total": "Request to result", "compute": "Compute", "queued": "Waiting"}


def monitor_summary(summary: Summary) -> views.MonitorSummary:
    """Return the summary of the newest runs."""
    return views.MonitorSummary(
        runs=summary.runs,
        since=summary.since,
        last_run_at=summary.until,
        outcomes=_distribution("Outcomes", summary.outcomes) if summary.outcomes else None,
        latencies=tuple(_latencies(summary)),
        predictions=tuple(_distribution(name, counts) for name, counts in summary.predictions.items()),
    )


def _latencies(summary: Summary) -> list[views.LatencyRow]:
    rows = []
    for name, title in _PHASES.items():
        found = summary.latency_ms[name]
        if found.p50 is None or found.p95 is None or found.p99 is None:
            continue
        rows.append(
            views.LatencyRow(title=title, count=found.count, p50=found.p50, p95=found.p95, p99=found.p99)
        )
    return rows


def _distribution(title: str, counts: Mapping[str, int]) -> views.Distribution:
    return views.Distribution(
        title=title, shares=tuple(views.Share(title=name, count=count) for name, count in counts.items())
    )
