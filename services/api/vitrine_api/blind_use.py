"""How often links were used, as far as their owners may know.

Of a blind link its owner sees whole days that are over, joined until there are enough runs in them, and
only together with the links that were made along with it: neither the hour of a run nor the reviewer can be
read from that, and looking twice tells no more than looking once. Everything told is computed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vitrine_api.link_states import LinkState, link_state
from vitrine_api.monitoring import percentiles
from vitrine_api.repository import Links, Scores
from vitrine_api.repository.endings import Ended, endings
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink
from vitrine_common.documents.base import LONG_AGO
from vitrine_common.states import RunState

SMALLEST_GROUP = 5
"""Runs that are told of together, at least."""
SETTLED = timedelta(days=3)
"""After so long no more runs of a day come to be known: the monitor catches up on one day."""
MAX_KEPT = 2000


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
    """Reads the use of links. What was of days that are long over is kept: it is read once a process."""

    def __init__(self, links: Links, scores: Scores) -> None:
        self._links = links
        self._scores = scores
        self._settled: dict[str, _Days] = {}

    async def of(self, links: Sequence[ShareLink]) -> dict[str, Use]:
        """Return the use of each link by id; links of one group that are blind share theirs."""
        groups: dict[str, list[str]] = {}
        for link in links:
            if was_blind(link) and _group(link) not in groups:
                members = await self._links.of_group(link.group_id) if link.group_id else [link]
                groups[_group(link)] = [member.id for member in members]
        uses = await self._of_groups(groups) if groups else {}
        return {
            link.id: uses[_group(link)] if was_blind(link) else Use(link.runs_used, link.opened)
            for link in links
        }

    async def _of_groups(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Use]:
        today = _midnight(utcnow())
        settled = today - SETTLED
        for key, ids in groups.items():
            days = self._settled.pop(key, None) or _Days(LONG_AGO)
            if days.until < settled:
                days = days.joined(await endings(self._scores.records, ids, days.until, settled), settled)
            self._settled[key] = days
        while len(self._settled) > MAX_KEPT:
            self._settled.pop(next(iter(self._settled)))
        every = [link_id for ids in groups.values() for link_id in ids]
        recent = await endings(self._scores.records, every, settled, today)
        uses = {}
        for key, ids in groups.items():
            own = [run for run in recent if run.link_id in ids]
            buckets = (self._settled.get(key) or _Days(settled)).joined(own, today).buckets
            uses[key] = Use(sum(bucket.runs for bucket in buckets), None, buckets, blind=True)
        return uses

    async def hidden_links(self, version_id: str) -> frozenset[str]:
        """Return the ids of the version's links whose single runs its owner must not see."""
        return frozenset(link.id for link in await self._links.of_version(version_id) if was_blind(link))


def was_blind(link: ShareLink) -> bool:
    """Say whether the link is, or ever was, blind: what was promised to reviewers outlives un-blinding.

    Of a venue's links single runs are told to nobody, blind or not: authors must not learn about reviewers.
    """
    return link.blind or bool(link.identities) or bool(link.venue_id)


def runs_left(link: ShareLink) -> int | None:
    """Return how many runs a link's holder is told to have left; None without a limit.

    None, too, while a blind link has any: whoever made it holds its address as well, and could watch a
    reviewer's runs go by. Nobody but its reviewer has the address of a venue's link.
    """
    if link.max_runs is None:
        return None
    left = max(0, link.max_runs - link.runs_used)
    return None if left and was_blind(link) and not link.venue_id else left


def _group(link: ShareLink) -> str:
    return link.group_id or link.id


@dataclass(frozen=True)
class _Days:
    """Days before `until`, joined until each bucket has `SMALLEST_GROUP` runs; what is left waits."""

    until: datetime
    buckets: tuple[Bucket, ...] = ()
    waiting: tuple[Ended, ...] = ()

    def joined(self, runs: Iterable[Ended], until: datetime) -> _Days:
        """Return the days before `until`; `runs` are those that ended between the two."""
        days: dict[datetime, list[Ended]] = defaultdict(list)
        for run in runs:
            days[_midnight(run.at)].append(run)
        buckets, gathered = list(self.buckets), list(self.waiting)
        for day in sorted(days):
            gathered += days[day]
            if len(gathered) >= SMALLEST_GROUP:
                buckets.append(_bucket(gathered, day + timedelta(days=1)))
                gathered = []
        return _Days(until, tuple(buckets), tuple(gathered))


def _bucket(runs: Sequence[Ended], until: datetime) -> Bucket:
    times = percentiles(run.total_ms for run in runs)
    failed = sum(run.outcome is not RunState.SUCCEEDED for run in runs)
    return Bucket(_midnight(runs[0].at), until, len(runs), failed, times.p50, times.p95)


def _midnight(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)
