"""Which versions want workers before anybody asks (`scaling.min`), read from the database."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from pydantic import ValidationError

from vitrine_common.clock import utcnow
from vitrine_common.documents import ShareLink, Version
from vitrine_common.spec import Spec
from vitrine_common.states import VersionState
from vitrine_common.store import Database
from vitrine_runner.worker import Need

log = logging.getLogger(__name__)

MOST = 500
"""Versions that are looked at, the newest ones."""


@dataclass(frozen=True)
class Wished:
    """A version that wants so many workers."""

    need: Need
    number: int
    spec: Spec


class LeastWorkers:
    """Reads wishes.

    A model's newest version counts, of those that can be run, and an older one as long as a link leads to it.

    Args:
        database: opened as the runner.
    """

    def __init__(self, database: Database) -> None:
        self._versions = database.collection(Version)
        self._links = database.collection(ShareLink)
        self._specs: dict[str, Spec | None] = {}

    async def wished(self) -> list[Wished]:
        """Return the wishes, in an order in which owners take turns."""
        where = {"spec.scaling.min": {"$gt": 0}, "state": VersionState.READY}
        found = await self._versions.find(where, (("created_at", -1),), MOST)
        newest = await self._newest({version.model_id for version in found}) if found else {}
        older = [version.id for version in found if newest.get(version.model_id) != version.number]
        unused = set(older) - (await self._linked(older) if older else set())
        self._specs = {version.digest: self._specs.get(version.digest) or _spec(version) for version in found}
        wishes: list[tuple[int, Wished]] = []
        turns: Counter[str] = Counter()
        for version in found:
            spec = self._specs[version.digest]
            if version.id not in unused and spec is not None and version.environment_digest:
                need = Need(version.digest, version.environment_digest, version.owner_id)
                wishes.append((turns[version.owner_id], Wished(need, spec.scaling.min, spec)))
                turns[version.owner_id] += 1
        wishes.sort(key=lambda wish: wish[0])
        return list({wish.need: wish for _, wish in wishes}.values())

    async def _newest(self, model_ids: set[str]) -> dict[str, int]:
        """Return the number of each model's newest version; a model that is deleted meanwhile has none."""
        where = {"model_id": {"$in": sorted(model_ids)}, "state": VersionState.READY}
        newest = {"_id": "$model_id", "number": {"$max": "$number"}}
        rows = await self._versions.aggregate([{"$match": where}, {"$group": newest}])
        return {row["_id"]: row["number"] for row in rows}

    async def _linked(self, version_ids: list[str]) -> set[str]:
        now = utcnow()
        where = {"version_id": {"$in": version_ids}, "revoked_at": None}
        links = await self._links.find(where, limit=MOST)
        return {link.version_id for link in links if link.expires_at is None or link.expires_at > now}


def _spec(version: Version) -> Spec | None:
    try:
        return Spec.model_validate(version.spec)
    except ValidationError:
        log.warning("a version's specification cannot be read", extra={"version": version.id})
        return None
