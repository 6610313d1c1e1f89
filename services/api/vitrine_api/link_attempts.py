"""Answers at the doors of restricted links are counted before they are looked at.

Each key has some free attempts. From then on one attempt is taken at a time, and each locks the key for
twice as long as the one before. Counting is a compare-and-set, so many guesses at once are no way around,
and it is stored, so neither is waiting for a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from vitrine_api.errors import RateLimited
from vitrine_api.repository import Links
from vitrine_common.clock import utcnow
from vitrine_common.documents import LinkAttempts
from vitrine_common.errors import Conflict

FORGOTTEN = timedelta(days=1)
"""After so long without an attempt a key counts as new."""
_TRIES = 200


@dataclass(frozen=True)
class Allowance:
    """How many attempts are free, and how long the locks after them are, in seconds."""

    free: int
    first_lock: float = 30.0
    longest_lock: float = 12 * 3600.0

    def lock(self, failures: int) -> timedelta:
        """Return the lock after so many failures in all."""
        doublings = min(max(0, failures - self.free - 1), 30)
        return timedelta(seconds=min(self.first_lock * 2**doublings, self.longest_lock))


PER_LINK = Allowance(free=20, longest_lock=3600.0)
"""Of everybody together: lower, because whoever guesses must not keep others out for long."""
PER_MAILBOX = Allowance(free=4, first_lock=300.0, longest_lock=6 * 3600.0)
"""Codes asked for: nobody's mailbox is to be filled by somebody else."""
PER_ADDRESS = Allowance(free=5)
"""Of one address at one link."""


class Attempts:
    """Counts attempts by key."""

    def __init__(self, links: Links) -> None:
        self._attempts = links.attempts

    async def take(self, key: str, allowance: Allowance) -> None:
        """Count one attempt. Raises RateLimited while the key is locked; nothing is counted then."""
        for _ in range(_TRIES):
            known = await self._known(key)
            now = utcnow()
            if known.locked_until > now:
                raise RateLimited("attempts", (known.locked_until - now).total_seconds())
            failures = 0 if known.last_at < now - FORGOTTEN else known.failures
            changes = {"failures": failures + 1, "last_at": now}
            if failures >= allowance.free:
                changes["locked_until"] = now + allowance.lock(failures + 1)
            where = {"_id": key, "failures": known.failures, "locked_until": known.locked_until}
            if await self._attempts.update(where, changes) is not None:
                return
        raise RateLimited("attempts at once", 1)

    async def forgive(self, key: str) -> None:
        """Take back what a right answer counted; all of it, and the lock."""
        await self._attempts.delete({"_id": key})

    async def _known(self, key: str) -> LinkAttempts:
        found = await self._attempts.find_one({"_id": key})
        if found is not None:
            return found
        try:
            return await self._attempts.insert(LinkAttempts(id=key))
        except Conflict:
            return await self._attempts.get(key)
