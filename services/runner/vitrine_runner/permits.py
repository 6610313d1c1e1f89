"""How many workers a version has on all runners together: started by permits, kept by what runners tell.

A permit is a lease in the database: a runner that is killed keeps none for longer than a lease lives, and two
that start workers at the same moment cannot both have the last one. A worker of a version with `scaling.max`
needs one, and so does one that is started ahead for `scaling.min`, of a kind of its own. Of workers that are
idle, each runner keeps its part of `scaling.min`, as the others' beats say what they have.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass

from vitrine_common.clock import after, utcnow
from vitrine_common.documents import LONG_AGO, WorkerPermit
from vitrine_common.errors import Conflict
from vitrine_common.fleet import Fleet
from vitrine_common.store import Database
from vitrine_runner.worker import Need

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Permit:
    """The right to have one worker. `lost` when somebody else may have it by now."""

    id: str
    token: str
    lost: bool = False


class Permits:
    """This host's share of the workers of versions.

    Args:
        database: opened as the runner.
        fleet: the other hosts.
        holder: names this process in leases.
        lease_seconds: a lease's life; renewed three times in it.
    """

    def __init__(self, database: Database, fleet: Fleet, holder: str, lease_seconds: float) -> None:
        self._permits = database.collection(WorkerPermit)
        self._fleet = fleet
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._held: set[Permit] = set()

    async def take(self, need: Need, most: int, *, ahead: bool = False) -> Permit | None:
        """Return a permit for one of `most` workers; None while others have them all.

        Those that stand ready `ahead` have permits of their own, beside the ones of a maximum.
        """
        kind = "ahead/" if ahead else ""
        for number in range(most):
            key = f"{kind}{need.version_digest}/{need.owner_id}/{number}"
            lease = {
                "lease_token": secrets.token_hex(16),
                "lease_holder": self._holder,
                "lease_expires_at": after(self._lease_seconds),
            }
            free = {"_id": key, "lease_expires_at": {"$lt": utcnow()}}
            taken = await self._permits.update(free, lease)
            if taken is None:
                try:
                    taken = await self._permits.insert(WorkerPermit.model_validate({"_id": key, **lease}))
                except Conflict:
                    continue
            permit = Permit(key, taken.lease_token)
            self._held.add(permit)
            return permit
        return None

    async def give_back(self, permit: Permit) -> None:
        """Let somebody else have it; a database that is away gets to know when the lease is over."""
        self._held.discard(permit)
        ours = {"_id": permit.id, "lease_token": permit.token}
        try:
            await self._permits.update(ours, {"lease_token": "", "lease_expires_at": LONG_AGO})
        except Exception as error:  # noqa: BLE001 - whatever failed, the lease ends by itself
            log.warning("a worker's permit is left to its lease", extra={"error": repr(error)})

    async def renew_forever(self) -> None:
        """Keep what is held, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            for permit in list(self._held):
                try:
                    await self._renew(permit)
                except Exception:
                    log.exception("a worker's permit will be renewed again", extra={"permit": permit.id})

    async def _renew(self, permit: Permit) -> None:
        ours = {"_id": permit.id, "lease_token": permit.token}
        expiry = {"lease_expires_at": after(self._lease_seconds)}
        if await self._permits.update(ours, expiry) is None:
            # The worker ends its runs, and no new one is begun in it.
            permit.lost = True
            self._held.discard(permit)
            log.warning("a worker's permit was lost", extra={"permit": permit.id})

    def kept(self, need: Need, least: int) -> int:
        """Return how many of `least` idle workers this host keeps; hosts before it by name come first."""
        before = sum(
            one.workers
            for beat in self._fleet.others(self._holder)
            if beat.holder < self._holder
            for one in beat.warm
            if (one.version_digest, one.environment_digest, one.owner_id)
            == (need.version_digest, need.environment_digest, need.owner_id)
        )
        return max(0, least - before)
