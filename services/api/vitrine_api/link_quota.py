"""What a link allows: runs in all, runs in any hour or day, bytes of input. Reserved before acceptance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from vitrine_api.blind_use import was_blind
from vitrine_api.errors import RateLimited
from vitrine_api.link_states import check_usable
from vitrine_api.quotas import share
from vitrine_api.repository import Links
from vitrine_api.run_inputs import SentExample, SentFile
from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json
from vitrine_common.documents import ShareLink
from vitrine_common.errors import StaleState, TooLarge, TooMany

_TRIES = 100


class Quota:
    """Takes runs from links and gives them back; never one too many, however many ask at once."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._turn = asyncio.Lock()

    async def take(self, link: ShareLink) -> ShareLink:
        """Count one run; the link is returned as it is afterwards.

        Raises TooMany when the link is used up, RateLimited when its rate is, Gone, LinkPaused. Nothing is
        counted then.
        """
        if link.rate_runs is None:
            return self._kept(await self._links.count_run(link, {}, 1))
        async with self._turn:  # within a process one after the other, so that comparing seldom fails
            for _ in range(_TRIES):
                known = await self._links.links.get(link.id)
                check_usable(known)
                taken = await self._take_from_rate(known)
                if taken is not None:
                    return taken
        raise StaleState("too many runs of this link begin at once; try again in a moment")

    async def take_some(self, link: ShareLink, most: int) -> tuple[ShareLink, int]:
        """Count up to `most` runs at once, for calls that follow, and return how many.

        When little is left, it is one at a time, so that other processes get some, too. Raises as `take`.
        """
        known = await self._links.links.get(link.id)
        check_usable(known)
        if known.rate_runs is not None:
            return await self.take(known), 1
        number = share(most, None if known.max_runs is None else known.max_runs - known.runs_used)
        taken = await self._links.count_run(known, {}, number)
        return (taken, number) if taken is not None else (await self.take(known), 1)

    async def give_some(self, link: ShareLink, number: int) -> None:
        """Undo `take_some` for calls that did not come to be."""
        if link.rate_runs is not None:
            for _ in range(number):
                await self.give_back(link)
            return
        await self._links.count_run(link, {}, -number)

    async def _take_from_rate(self, link: ShareLink) -> ShareLink | None:
        if link.max_runs is not None and link.runs_used >= link.max_runs:
            self._kept(None)
        now = _now()
        recent = [time for time in link.rate_times if time > now - link.rate_seconds * 1000]
        if len(recent) >= (link.rate_runs or 0):
            unit = {3600: "hour", 86400: "day"}.get(link.rate_seconds, f"{link.rate_seconds} s")
            # Of a blind link it would be told by the second when a reviewer was there.
            told = recent and not was_blind(link)
            wait = (recent[0] - now) / 1000 + link.rate_seconds if told else link.rate_seconds
            raise RateLimited(f"runs by this link, which allows {link.rate_runs} per {unit}", wait)
        return await self._links.count_run(link, {"rate_times": [*recent, now]}, 1)

    def _kept(self, taken: ShareLink | None) -> ShareLink:
        if taken is None:
            raise TooMany("this link's runs are used up; ask its owner for another")
        return taken

    async def give_back(self, link: ShareLink) -> None:
        """Undo `take`, whose link this is: the run did not come to be."""
        if link.rate_runs is None:
            await self._links.count_run(link, {}, -1)
            return
        own = link.rate_times[-1:]
        async with self._turn:
            for _ in range(_TRIES):
                known = await self._links.links.get(link.id)
                left = list(known.rate_times)
                for time in own:
                    if time in left:
                        left.remove(time)
                if await self._links.count_run(known, {"rate_times": left}, -1) is not None:
                    return


def check_size(link: ShareLink, raw: Mapping[str, Any]) -> None:
    """Raise TooLarge for inputs over the link's limit. The model's own examples count nothing."""
    if link.max_input_bytes is None:
        return
    size = sum(_size(value) for value in raw.values())
    if size > link.max_input_bytes:
        raise TooLarge(f"the inputs have {size} bytes; this link takes {link.max_input_bytes}")


def _size(value: Any) -> int:
    match value:
        case SentFile():
            return value.size
        case SentExample():
            return 0
        case {"example": _}:
            return 0
        case {"base64": str(data)}:
            return len(data) * 3 // 4
        case str():
            return len(value.encode())
    return len(canonical_json(value))


def _now() -> int:
    return round(utcnow().timestamp() * 1000)
