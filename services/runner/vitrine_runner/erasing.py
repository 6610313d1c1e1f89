"""What a runner host forgets: runs and checks of what was deleted, and files on its disk."""

from __future__ import annotations

from typing import TypeVar

from vitrine_common.documents import DatasetVersion, Version
from vitrine_common.store import Collection, Database
from vitrine_runner.bundles import Bundles, Datasets
from vitrine_runner.repository import Checks, Runs

V = TypeVar("V", Version, DatasetVersion)
_AT_ONCE = 200


class Eraser:
    """Removes what was deleted.

    Args:
        database: to read which versions and datasets there still are.
        runs: the runs that are removed.
        checks: the checks that are removed.
        bundles: files of versions on this host.
        datasets: files of datasets on this host.
    """

    def __init__(
        self, database: Database, runs: Runs, checks: Checks, bundles: Bundles, datasets: Datasets
    ) -> None:
        self._versions = database.collection(Version)
        self._dataset_versions = database.collection(DatasetVersion)
        self._runs = runs
        self._checks = checks
        self._bundles = bundles
        self._datasets = datasets

    async def erase(self, **where: str) -> None:
        """Delete the runs and checks of a version or link. Idempotent."""
        await self._runs.erase(**where)
        await self._checks.erase(**where)

    async def forget(self, digests: list[str]) -> None:
        """Remove files from this host's disk."""
        await self._bundles.forget(digests)
        await self._datasets.forget(digests)

    async def catch_up(self) -> None:
        """Remove files of what was deleted while this runner was not there."""
        here = self._bundles.digests
        await self._bundles.forget(set(here) - await _known(self._versions, here))
        here = self._datasets.digests
        await self._datasets.forget(set(here) - await _known(self._dataset_versions, here))


async def _known(collection: Collection[V], digests: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(digests), _AT_ONCE):
        batch = digests[start : start + _AT_ONCE]
        async for version in collection.each({"digest": {"$in": batch}}):
            found.add(version.digest)
    return found
