"""How a version does: counts, latencies and predictions over its newest runs, from scoring records.

The window is bounded, so that a page costs the same for a thousand runs as for a million.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Page, Scores, page_of
from vitrine_common.documents import ScoringRecord, Version

if TYPE_CHECKING:
    from vitrine_api.blind_use import BlindUse

WINDOW = 2000
KEPT_SECONDS = 10.0
_VERSIONS = 256
MAX_LABELS = 50


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None without measurements."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Summary:
    """What the newest runs of a version were like."""

    runs: int
    since: datetime | None
    until: datetime | None
    outcomes: dict[str, int]
    reasons: dict[str, int]
    cold_starts: int
    latency_ms: dict[str, Percentiles]
    predictions: dict[str, dict[str, int]]
    """Output → label → runs, the most frequent ones first."""


class Monitoring:
    """Reads scoring records of versions that were checked already.

    A summary is made again when there is a newer record, and every `KEPT_SECONDS`: one that came late is
    missed no longer than that.
    """

    def __init__(self, scores: Scores, use: BlindUse) -> None:
        self._scores = scores
        self._use = use
        self._known: OrderedDict[str, tuple[tuple[str, frozenset[str]], float, Summary]] = OrderedDict()

    async def summary(self, member: Member, version: Version) -> Summary:
        """Summarise the newest `WINDOW` runs, but those by blind links."""
        require(member, Action.SEE, version)
        hidden = frozenset(await self._use.hidden_links(version.id))
        newest = await self._scores.window(version.id, 1)
        mark, now = (newest[0].id if newest else "", hidden), monotonic()
        known = self._known.get(version.id)
        if known is not None and known[0] == mark and now < known[1]:
            return known[2]
        found = await self._scores.window(version.id, WINDOW) if newest else []
        summary = summarise([record for record in found if record.link_id not in hidden])
        self._known[version.id] = (mark, now + KEPT_SECONDS, summary)
        self._known.move_to_end(version.id)
        if len(self._known) > _VERSIONS:
            self._known.popitem(last=False)
        return summary

    async def records(
        self, member: Member, version: Version, limit: int, after: str | None
    ) -> Page[ScoringRecord]:
        """Return scoring records, newest first, but those of runs by blind links."""
        require(member, Action.SEE, version)
        hidden = await self._use.hidden_links(version.id)
        where: dict[str, Any] = {"version_id": version.id}
        if hidden:
            where["link_id"] = {"$nin": sorted(hidden)}
        return await page_of(self._scores.records, where, limit, after)


def summarise(records: Sequence[ScoringRecord]) -> Summary:
    """Return the summary of records, in any order."""
    times = sorted(record.finished_at for record in records)
    return Summary(
        runs=len(records),
        since=times[0] if times else None,
        until=times[-1] if times else None,
        outcomes=dict(Counter(record.outcome.value for record in records)),
        reasons=dict(Counter(record.reason.value for record in records if record.reason)),
        cold_starts=sum(bool(record.cold) for record in records),
        latency_ms={
            "total": percentiles(record.total_ms for record in records),
            "compute": percentiles(record.compute_ms for record in records),
            "queued": percentiles(record.queued_ms for record in records),
        },
        predictions=_predictions(records),
    )


def _predictions(records: Iterable[ScoringRecord]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for output in record.outputs:
            if output.prediction is not None:
                counts[output.name][output.prediction] += 1
    return {name: dict(found.most_common(MAX_LABELS)) for name, found in counts.items()}


def percentiles(values: Iterable[float | None]) -> Percentiles:
    """Return percentiles by the nearest rank."""
    known = sorted(value for value in values if value is not None)

    def rank(share: float) -> float | None:
        return known[max(0, math.ceil(share * len(known)) - 1)] if known else None

    return Percentiles(len(known), rank(0.5), rank(0.95), rank(0.99))
