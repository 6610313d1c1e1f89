"""What counts as present for an account: counted against its storage, and safe from being collected."""

from __future__ import annotations

from vitrine_api.quotas import Quotas
from vitrine_api.repository import Bundles
from vitrine_api.repository.erasure import Doomed
from vitrine_common.blobs import BlobStore
from vitrine_common.errors import Unavailable


class Grants:
    """Grants blobs to accounts.

    Args:
        bundles: where grants are kept.
        doomed: the blobs that a deletion left.
        blobs: the bytes.
        quotas: what they count against.
    """

    def __init__(self, bundles: Bundles, doomed: Doomed, blobs: BlobStore, quotas: Quotas) -> None:
        self._bundles = bundles
        self._doomed = doomed
        self._blobs = blobs
        self._quotas = quotas

    async def grant(self, user_id: str, digest: str, size: int, *, forced: bool = False) -> None:
        """Let a stored digest count as present for the account; doing so twice is doing so once.

        Raises OverQuota, unless `forced`: what the platform made for somebody is never refused. Raises
        Unavailable when the bytes are just being collected: whoever sends them again succeeds.
        """
        if (await self._bundles.grants(user_id, [digest])).get(digest) == size:
            return
        await self._quotas.take_storage(user_id, size, forced=forced)
        if not await self._bundles.grant(user_id, digest, size):
            await self._quotas.give_storage(user_id, size)
            return
        # In this order: the collector says that a blob leaves before it looks for grants.
        if not await self._doomed.spare(digest) or not await self._blobs.exists(digest):
            await self._bundles.blob_grants.delete({"_id": f"{user_id}:{digest}"})
            await self._quotas.give_storage(user_id, size)
            raise Unavailable(f"{digest} was just removed after a deletion; send it again")
