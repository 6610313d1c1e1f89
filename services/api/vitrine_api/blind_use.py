"""How often links were used, as far as their owners may know.

Of a blind link its owner sees whole days that are over, joined until there are enough runs in them, and
only together with the links that were made along with it: neither the hour of a run nor the reviewer can be
read from that, and looking twice tells no more than looking once. Everything told is computed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vitrine_api.link_states import LinkState, link_state
from vitrine_api.monitoring import percentiles
from vitrine_api.repository import Links, Scores
from vitrine_common.clock import utcnow
from vitrine_common.documents import ScoringRecord, ShareLink
from vitrine_common.states import RunState

SMALLEST_GROUP = 5
"""Runs that are told of together, at least."""
MAX_RECORDS = 5000


@dataclass(frozen=True, slots=True)
class Bucket:
    """Runs of some days that are over; `until` is the midnight (UTC) after the last of them."""

    since: datetime
    until: datetime
    runs: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True)
class Use:
    """What an owner may know of a link's use; `opened` is None where it is not told."""

    runs: int = 0
    opened: int | None = 0
    buckets: Sequence[Bucket] = ()
    blind: bool = False

    def state(self, link: ShareLink) -> LinkState:
        """Return the link's state; that a blind one is used up would tell when its last run was."""
        known = link_state(link)
        if self.blind and known == "used_up" and self.runs < (link.max_runs or 0):
            return "active"
        return known


class BlindUse:
    """Reads the use of links."""

    def __init__(self, links: Links, scores: Scores) -> None:
        self._links = links
        self._scores = scores

    async def of(self, links: Sequence[ShareLink]) -> dict[str, Use]:
        """Return the use of each link by id; links of one group that are blind share theirs."""
        found: dict[str, Use] = {}
        groups: dict[str, Use] = {}
        for link in links:
            if not was_blind(link):
                found[link.id] = Use(link.runs_used, link.opened)
                continue
            key = link.group_id or link.id
            if key not in groups:
                groups[key] = await self._of_group(link)
            found[link.id] = groups[key]
        return found

    async def _of_group(self, link: ShareLink) -> Use:
        members = await self._links.of_group(link.group_id) if link.group_id else [link]
        records = await self._scores.of_links([member.id for member in members], MAX_RECORDS)
        buckets = buckets_of(records, utcnow())
        return Use(sum(bucket.runs for bucket in buckets), None, buckets, blind=True)

    async def hidden_links(self, version_id: str) -> frozenset[str]:
        """Return the ids of the version's links whose single runs its owner must not see."""
        return frozenset(link.id for link in await self._links.of_version(version_id) if was_blind(link))


def was_blind(link: ShareLink) -> bool:
    """Say whether the link is, or ever was, blind: what was promised to reviewers outlives un-blinding."""
    return link.blind or bool(link.identities)


def buckets_of(records: Iterable[ScoringRecord], now: datetime) -> list[Bucket]:
    """Return days that are over, joined until each bucket has `SMALLEST_GROUP` runs; what is left waits."""
    today = _midnight(now)
    days: dict[datetime, list[ScoringRecord]] = defaultdict(list)
    for record in records:
        if record.finished_at < today:
            days[_midnight(record.finished_at)].append(record)
    buckets: list[Bucket] = []
    gathered: list[ScoringRecord] = []
    since: datetime | None = None
    for day in sorted(days):
        since = since or day
        gathered += days[day]
        if len(gathered) >= SMALLEST_GROUP:
            buckets.append(_bucket(since, day + timedelta(days=1), gathered))
            gathered, since = [], None
    return buckets


def _bucket(since: datetime, until: datetime, records: Sequence[ScoringRecord]) -> Bucket:
    times = percentiles(record.total_ms for record in records)
    failed = sum(record.outcome is not RunState.SUCCEEDED for record in records)
    return Bucket(since, until, len(records), failed, times.p50, times.p95)


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)
