"""News that no fact tells: links that end soon, and what may be said of blind links only after a day."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import datetime, timedelta

from vitrine_api.blind_use import SMALLEST_GROUP, BlindUse, was_blind
from vitrine_api.notifications.facts import Facts
from vitrine_api.notifications.news import News, Notices
from vitrine_api.notifications.repository import NotificationRepository
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink

log = logging.getLogger(__name__)

SOON = timedelta(days=2)
_SHORT_LIVED = timedelta(days=4)
_PAUSE_SECONDS = 3600.0


class Watching:
    """Looks once an hour. What was told is not told again, so that any number of processes may look."""

    def __init__(
        self, notices: Notices, facts: Facts, repository: NotificationRepository, use: BlindUse
    ) -> None:
        self._notices = notices
        self._facts = facts
        self._repository = repository
        self._use = use

    async def watch_forever(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look(utcnow())
            except Exception:
                log.exception("news will be looked for again")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def look(self, now: datetime) -> None:
        """Tell what is to be told at that time."""
        async for link in self._repository.all_links():
            if (
                link.revoked_at is None
                and not link.venue_id
                and (link.expires_at is None or link.expires_at > now)
            ):
                await self._link(link, now)
        await self._blind_checks(now)

    async def _link(self, link: ShareLink, now: datetime) -> None:
        name = f"“{link.label}”" if link.label else f"…{link.token_hint}"
        ends = link.expires_at
        if ends is not None and ends - now < SOON and ends - link.created_at > _SHORT_LIVED:
            await self._notices.tell(
                News(
                    user_id=link.owner_id,
                    kind="link.expiring",
                    key=f"{link.id}:{ends.isoformat()}",
                    title=f"The link {name} ends on {ends:%d %B at %H:%M} UTC",
                    text="Whoever still needs it may be given more time: edit the link.",
                    path="/links",
                    data={"link_id": link.id, "expires_at": ends.isoformat()},
                )
            )
        if was_blind(link) and link.max_runs is not None:
            # Only what the owner may know of a blind link's use: whole days, several runs together.
            told = (await self._use.of([link]))[link.id].runs
            await self._facts.link_quota(link, told, name)

    async def _blind_checks(self, now: datetime) -> None:
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        yesterday = today - timedelta(days=1)
        checks = await self._repository.blind_checks(yesterday, today)
        for version_id, count in Counter(check.version_id for check in checks).items():
            version = await self._repository.version(version_id)
            if version is None or count < SMALLEST_GROUP:
                continue
            await self._notices.tell(
                News(
                    user_id=version.owner_id,
                    kind="claim.checked",
                    key=f"{version_id}:{yesterday:%Y-%m-%d}",
                    title=f"Claims of {version.reference} were checked by blind links",
                    text=f"At least {SMALLEST_GROUP} times on {yesterday:%d %B}; its page tells more.",
                    path=f"/models/{version.owner}/{version.model}/versions/{version.number}",
                    data={"version": version.reference, "version_id": version_id},
                )
            )
