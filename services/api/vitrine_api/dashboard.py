"""What an owner sees first: what needs attention, how the last days were, what is new.

Runs by blind links are in none of it: their owner learns of them in whole days, on the link's own page.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Literal

from vitrine_api.blind_use import BlindUse, Use, was_blind
from vitrine_api.link_states import link_state
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Repository, page_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version

DAYS = 14
FRESH_SECONDS = 20.0
YESTERDAY_SECONDS = 600.0
SOON = timedelta(days=3)
NEAR = 0.8
"""Share of a link's runs from which on it is told to be nearly used up."""
_LINKS = 100
_SHOWN = 5
_CACHED_DAYS = 20_000

Kind = Literal["build_failed", "link_expiring", "link_nearly_used", "link_used_up"]


@dataclass(frozen=True, slots=True)
class Day:
    """The runs that were asked for on one day (UTC)."""

    day: date
    runs: int
    failed: int


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that its owner should look at."""

    kind: Kind
    at: datetime
    version: Version
    link: ShareLink | None = None


@dataclass(frozen=True)
class Sharing:
    """Links that work, with their versions by id and their use by the link's id."""

    links: Sequence[ShareLink]
    versions: dict[str, Version]
    use: dict[str, Use]


class Dashboard:
    """Reads what the front page of an account shows.

    Args:
        repository: where things are.
        use: what an owner may know of a link's use.
    """

    def __init__(self, repository: Repository, use: BlindUse) -> None:
        self._repository = repository
        self._use = use
        self._known: OrderedDict[tuple[str, date], tuple[float, Day]] = OrderedDict()

    async def days(self, member: Member) -> list[Day]:
        """Return the last `DAYS` days, today last.

        Days that are over are counted once per process, yesterday every `YESTERDAY_SECONDS`, today every
        `FRESH_SECONDS`.
        """
        require(member, Action.SEE, None)
        today = utcnow().date()
        wanted = [today - timedelta(days=back) for back in reversed(range(DAYS))]
        return list(await asyncio.gather(*(self._day(member.id, day, today) for day in wanted)))

    async def _day(self, owner_id: str, day: date, today: date) -> Day:
        key = (owner_id, day)
        good_until, known = self._known.get(key, (0.0, None))
        if known is not None and good_until > monotonic():
            return known
        since = datetime.combine(day, time(), UTC)
        until, runs = since + timedelta(days=1), self._repository.runs
        asked, failed = await asyncio.gather(
            runs.count(owner_id, since, until), runs.count_failed(owner_id, since, until)
        )
        found = Day(day, asked, failed)
        # Runs may go on for a while after midnight: what was begun yesterday may still fail.
        yesterday = today - timedelta(days=1)
        seconds = math.inf if day < yesterday else YESTERDAY_SECONDS if day < today else FRESH_SECONDS
        self._known[key] = (monotonic() + seconds, found)
        if len(self._known) > _CACHED_DAYS:
            self._known.popitem(last=False)
        return found

    async def sharing(self, member: Member) -> Sharing:
        """Return the links that work now, the ones used last first."""
        require(member, Action.SEE, None)
        page = await page_of(self._repository.links.links, {"owner_id": member.id}, _LINKS, None)
        working = [link for link in page.items if link_state(link) in {"active", "paused"}]
        working.sort(key=_last_told, reverse=True)
        links = working[:_SHOWN]
        versions = await self._repository.bundles.versions_by_ids(link.version_id for link in links)
        return Sharing(links, versions, await self._use.of(links))

    async def attention(self, member: Member) -> list[Attention]:
        """Return what needs to be looked at, the newest first."""
        require(member, Action.SEE, None)
        found = [*await self._failed(member.id), *await self._links(member.id)]
        return sorted(found, key=lambda one: one.at, reverse=True)

    async def _failed(self, owner_id: str) -> list[Attention]:
        """Return versions that failed to build and were not replaced by a newer one since."""
        versions = await self._repository.bundles.failed_builds(owner_id, _SHOWN)
        latest = await asyncio.gather(
            *(self._repository.bundles.newest_number(version.model_id) for version in versions)
        )
        newest = [
            version for version, number in zip(versions, latest, strict=True) if version.number >= number
        ]
        return [Attention("build_failed", one.updated_at or one.created_at, one) for one in newest]

    async def _links(self, owner_id: str) -> list[Attention]:
        links = self._repository.links
        limited = (await page_of(links.links, {"owner_id": owner_id}, _LINKS, None)).items
        expiring = await links.expiring(owner_id, utcnow() + SOON)
        # Of blind links the number of runs is told in whole days alone, on their own page.
        full = [link for link in limited if not was_blind(link) and _share(link) >= NEAR][:_SHOWN]
        versions = await self._repository.bundles.versions_by_ids(
            link.version_id for link in (*expiring, *full)
        )
        found = [
            Attention("link_expiring", link.created_at, versions[link.version_id], link)
            for link in expiring[:_SHOWN]
            if link.version_id in versions
        ]
        for link in full:
            kind: Kind = "link_used_up" if link_state(link) == "used_up" else "link_nearly_used"
            if link.version_id in versions:
                found.append(
                    Attention(kind, link.last_run_at or link.created_at, versions[link.version_id], link)
                )
        return found


def _share(link: ShareLink) -> float:
    if link.max_runs is None or link_state(link) in {"revoked", "expired"}:
        return 0.0
    return link.runs_used / link.max_runs


def _last_told(link: ShareLink) -> datetime:
    """Return when a link was last used, as far as its owner may know: the order must tell nothing either."""
    return link.created_at if was_blind(link) else link.last_run_at or link.created_at
