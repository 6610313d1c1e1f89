"""Quotas for synchronous calls: taken from the database some at a time, never one too many.

What a process has taken and not used is given back when it is idle and when it stops; what a killed one had
taken counts as used. The first call of a while takes one, and each further turn twice as many, so that
counters tell the truth where there is little traffic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vitrine_api.blind_use import was_blind
from vitrine_api.inference.admission import Admitted
from vitrine_api.link_quota import Quota
from vitrine_api.link_states import check_usable
from vitrine_api.quotas import OverQuota, Quotas
from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink
from vitrine_common.errors import TooMany, VitrineError

log = logging.getLogger(__name__)

MOST = 256
"""Most that are taken at once."""
IDLE_SECONDS = 1.0
"""What was not used for so long is given back."""
TEND_SECONDS = 0.5

Take = Callable[[int], Awaitable[int]]
Give = Callable[[int], Awaitable[None]]


@dataclass(eq=False)
class _Lease:
    """What is left of one quota. `take` raises where there is no more."""

    take: Take
    give: Give
    left: int = 0
    step: int = 1
    used_at: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    ahead: asyncio.Task[None] | None = None

    async def use(self, now: float) -> None:
        """Use one; waits for the database only when none is left."""
        self.used_at = now
        if self.left:
            self.left -= 1
            if self.left < self.step // 4 and self.ahead is None:
                self.ahead = asyncio.create_task(self._fill_ahead(), name="lease")
            return
        async with self.turn:
            while not self.left:
                await self._fill()
            self.left -= 1

    async def _fill(self) -> None:
        self.left += await self.take(self.step)
        self.step = min(MOST, 2 * self.step)

    async def _fill_ahead(self) -> None:
        try:
            async with self.turn:
                await self._fill()
        except VitrineError:
            log.debug("nothing more was leased", exc_info=True)  # whoever needs one asks again, and is told
        finally:
            self.ahead = None

    async def give_back(self) -> None:
        """Return what is left."""
        async with self.turn:
            number, self.left, self.step = self.left, 0, 1
            if number:
                await self.give(number)


class Leases:
    """The quotas that this process has taken from.

    Args:
        quotas: of owners.
        quota: of links.
    """

    def __init__(self, quotas: Quotas, quota: Quota) -> None:
        self._quotas = quotas
        self._quota = quota
        self._leases: dict[tuple[str, ...], _Lease] = {}

    async def take(self, admitted: Admitted) -> None:
        """Count a call for the owner and the link. Raises OverQuota, TooMany, Gone, LinkPaused."""
        now = asyncio.get_running_loop().time()
        link = admitted.link
        try:
            await self._of_owner(admitted).use(now)
        except OverQuota:
            if link is None:
                raise
            raise TooMany(
                "this model was run as often today as its owner's quota allows; try again tomorrow (UTC)"
            ) from None
        if link is None:
            return
        try:
            await self._of_link(link).use(now)
        except BaseException:
            # Looked up again: what was taken from may have been given back meanwhile.
            self._of_owner(admitted).left += 1
            raise

    def give(self, admitted: Admitted) -> None:
        """Undo `take`: the call was not begun."""
        self._of_owner(admitted).left += 1
        if admitted.link is not None:
            self._of_link(admitted.link).left += 1

    async def tend_forever(self) -> None:
        """Give back what is not used."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            await self.tend()

    async def tend(self) -> None:
        """Give back what has not been used for a while."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        for key, lease in list(self._leases.items()):
            if lease.used_at < oldest and lease.ahead is None and not lease.turn.locked():
                self._leases.pop(key)
                await self._return(key, lease)

    async def close(self) -> None:
        """Give everything back."""
        while self._leases:
            await self._return(*self._leases.popitem())

    async def _return(self, key: tuple[str, ...], lease: _Lease) -> None:
        try:
            await lease.give_back()
        except Exception:
            log.exception("%s runs of %s stay counted", lease.left, key)

    def _of_owner(self, admitted: Admitted) -> _Lease:
        owner_id, link = admitted.version.owner_id, admitted.link
        blind = link is not None and was_blind(link)
        # Of yesterday's lease nothing may be used today.
        key = ("owner", owner_id, "blind" if blind else "open", utcnow().date().isoformat())
        lease = self._leases.get(key)
        if lease is None:

            async def give(number: int) -> None:
                if key[3] == utcnow().date().isoformat():
                    await self._quotas.give_runs(owner_id, number, blind=blind)

            lease = self._leases[key] = _Lease(
                lambda most: self._quotas.take_some_runs(owner_id, most, blind=blind), give
            )
        return lease

    def _of_link(self, link: ShareLink) -> _Lease:
        key = ("link", link.id)
        lease = self._leases.get(key)
        if lease is None:

            async def take(most: int) -> int:
                taken, number = await self._quota.take_some(link, most)
                try:
                    check_usable(taken)
                except VitrineError:
                    await self._quota.give_some(taken, number)
                    raise
                return number

            async def give(number: int) -> None:
                await self._quota.give_some(link, number)

            lease = self._leases[key] = _Lease(take, give)
        return lease
