"""Removing blobs that something deleted referred to, once nothing refers to them any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from vitrine_api.repository.erasure import Doomed
from vitrine_common.blobs import BlobStore
from vitrine_common.clock import after

log = logging.getLogger(__name__)

_AT_ONCE = 500
_PAUSE_SECONDS = 0.5


class Collecting:
    """Collects blobs.

    Every document of every collection is searched for the digests, so that a field that is added some day
    cannot be forgotten. A blob is marked as leaving before the search; `Grants` looks for that mark after
    it has written its grant, so one of the two sees the other.

    Args:
        doomed: the blobs to look at.
        blobs: where they are removed.
        grace_seconds: how long a blob stays after the deletion.
    """

    def __init__(self, doomed: Doomed, blobs: BlobStore, grace_seconds: float) -> None:
        self._doomed = doomed
        self._blobs = blobs
        self._grace_seconds = grace_seconds

    async def doom(self, digests: Iterable[str]) -> None:
        """Have blobs removed after the grace period, unless something refers to them then."""
        await self._doomed.add(digests, after(self._grace_seconds))

    async def collect(self) -> int:
        """Remove what is due; return how many blobs went. Killed at any point, the next call goes on."""
        removed = 0
        while due := await self._doomed.due(_AT_ONCE):
            leaving = [blob for blob in due if await self._doomed.leave(blob)]
            deleting = await self._doomed.deleting()
            referred = await self._doomed.referred({blob.id for blob in leaving})
            for blob in leaving:
                if blob.id in referred and deleting:
                    await self._doomed.postpone(blob, after(max(self._grace_seconds, _PAUSE_SECONDS)))
                    continue
                if blob.id not in referred:
                    await self._blobs.delete(blob.id)
                    removed += 1
                await self._doomed.settle(blob)
        if removed:
            log.info("blobs collected", extra={"number": removed})
        return removed
