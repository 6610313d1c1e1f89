"""Which files the versions, datasets and trainings of an account are made of."""

from __future__ import annotations

from vitrine_api.models import MAX_MANIFEST_BYTES
from vitrine_api.repository.erasure import Erasure
from vitrine_common.blobs import BlobNotFound, BlobStore
from vitrine_common.bundle import Manifest
from vitrine_common.documents import DatasetVersion, TrainRequest, Version


class Manifests:
    """Reads manifests."""

    def __init__(self, erasure: Erasure, blobs: BlobStore) -> None:
        self._erasure = erasure
        self._blobs = blobs

    async def files(self, digest: str) -> set[str]:
        """Return the digests of a manifest's files, and its own; of one that is gone, its own alone."""
        try:
            text = await self._blobs.get_bytes(digest, MAX_MANIFEST_BYTES)
        except BlobNotFound:
            return {digest}
        return {digest, *(entry.digest for entry in Manifest.model_validate_json(text).files)}

    async def needed_by(self, user_id: str, but_id: str) -> set[str]:
        """Return every digest that something of the account is made of, but for what has the id `but_id`."""
        where = {"owner_id": user_id}
        versions = await self._erasure.all_of(Version, where)
        datasets = await self._erasure.all_of(DatasetVersion, where)
        manifests = {item.digest for item in versions if item.id != but_id}
        manifests |= {item.digest for item in datasets if item.id != but_id}
        trainings = await self._erasure.all_of(TrainRequest, where)
        manifests |= {item.manifest_digest for item in trainings if item.id != but_id}
        needed: set[str] = set()
        for digest in manifests:
            needed |= await self.files(digest)
        return needed
