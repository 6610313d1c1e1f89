"""Deletions, the blobs that they leave, and a walk over everything that refers to a blob."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from vitrine_common.clock import utcnow
from vitrine_common.documents import COLLECTIONS, Deletion, Document, DoomedBlob
from vitrine_common.errors import Conflict
from vitrine_common.store import Database

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Doomed:
    """Blobs that something deleted referred to."""

    def __init__(self, database: Database) -> None:
        self._blobs = database.collection(DoomedBlob)
        self._database = database

    async def add(self, digests: Iterable[str], due_at: datetime) -> None:
        """Have blobs looked at when they are due. Idempotent."""
        for digest in sorted(set(digests)):
            try:
                await self._blobs.insert(DoomedBlob(id=digest, due_at=due_at))
            except Conflict:
                continue

    async def spare(self, digest: str) -> bool:
        """Take a blob off the list; False when it is leaving already."""
        known = await self._blobs.find_one({"_id": digest})
        if known is None:
            return True
        return await self._blobs.delete({"_id": digest, "leaving": {"$in": [False, 0]}}) == 1

    async def due(self, limit: int) -> list[DoomedBlob]:
        """Return blobs that may be collected."""
        return await self._blobs.find({"due_at": {"$lte": utcnow()}}, (("due_at", 1),), limit)

    async def leave(self, blob: DoomedBlob) -> bool:
        """Say that a blob leaves; False when somebody took it off the list."""
        return await self._blobs.update({"_id": blob.id}, {"leaving": True}) is not None

    async def settle(self, blob: DoomedBlob) -> None:
        """Forget a blob: it is gone, or something refers to it."""
        await self._blobs.delete({"_id": blob.id})

    async def referred(self, digests: set[str]) -> set[str]:
        """Return which of the digests stand anywhere in the database, whatever the field."""
        found: set[str] = set()
        for document in COLLECTIONS:
            if document is DoomedBlob:
                continue
            async for text in self._texts(document):
                found |= digests.intersection(_DIGEST.findall(text))
        return found

    async def _texts(self, document: type[Document]) -> AsyncIterator[str]:
        async for item in self._database.collection(document).each({}):
            yield item.model_dump_json()


def digests_in(document: Document) -> set[str]:
    """Return every digest that stands in a document."""
    return set(_DIGEST.findall(document.model_dump_json()))


class Deletions:
    """Wishes to delete, and tombstones."""

    def __init__(self, database: Database) -> None:
        self.deletions = database.collection(Deletion)

    async def due(self, limit: int = 20) -> list[Deletion]:
        """Return deletions that are to be worked on."""
        where = {"done": {"$in": [False, 0]}, "due_at": {"$lte": utcnow()}}
        return await self.deletions.find(where, (("due_at", 1),), limit)

    async def of(self, subject_id: str) -> Deletion | None:
        """Return the deletion of something, or None."""
        return await self.deletions.find_one({"subject_id": subject_id})
