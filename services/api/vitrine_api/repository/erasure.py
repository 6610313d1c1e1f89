"""Deletions, the blobs that they leave, and a walk over everything that refers to a blob."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from vitrine_api.repository.paging import Where
from vitrine_common.clock import after, utcnow
from vitrine_common.documents import (
    COLLECTIONS,
    LONG_AGO,
    Deletion,
    Document,
    DoomedBlob,
    Mail,
    Notification,
    Upload,
    WebhookDelivery,
)
from vitrine_common.errors import Conflict
from vitrine_common.ids import new_id
from vitrine_common.messages import Message
from vitrine_common.store import Database

D = TypeVar("D", bound=Document)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NO_REFERENCE = (DoomedBlob, Deletion, Upload)
"""Where a digest keeps no blob: what tells of its end, and uploads: their bytes lie elsewhere."""


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
                await self._blobs.update({"_id": digest, "leaving": {"$in": [False, 0]}}, {"due_at": due_at})

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

    async def postpone(self, blob: DoomedBlob, due_at: datetime) -> None:
        """Look at a blob once more: a deletion under way may take away what refers to it."""
        await self._blobs.update({"_id": blob.id}, {"leaving": False, "due_at": due_at})

    async def settle(self, blob: DoomedBlob) -> None:
        """Forget a blob: it is gone, or something refers to it."""
        await self._blobs.delete({"_id": blob.id})

    async def deleting(self) -> bool:
        """Say whether a deletion is under way."""
        where = {"done": {"$in": [False, 0]}}
        return await self._database.collection(Deletion).find_one(where) is not None

    async def referred(self, digests: set[str]) -> set[str]:
        """Return which of the digests stand anywhere in the database, whatever the field."""
        found: set[str] = set()
        for document in COLLECTIONS:
            if document in NO_REFERENCE:
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

    async def add(self, deletion: Deletion) -> Deletion:
        """Write a wish down, once for each subject; one that is carried out is begun anew."""
        there = await self.of(deletion.subject_id)
        if there is None:
            return await self.deletions.insert(deletion)
        if there.done:
            await self.deletions.update({"_id": there.id}, {"done": False, "due_at": utcnow()})
        return there

    async def claim(self, deletion: Deletion, seconds: float) -> Deletion | None:
        """Take a deletion for so long; None when another process works on it."""
        where = {"_id": deletion.id, "done": {"$in": [False, 0]}, "lease_expires_at": {"$lt": utcnow()}}
        lease = {"lease_token": new_id("lease"), "lease_expires_at": after(seconds)}
        return await self.deletions.update(where, lease)

    async def settle(
        self, claimed: Deletion, changes: Where, messages: Sequence[Message] = ()
    ) -> Deletion | None:
        """Give a claimed deletion back with what has changed; None when its lease was lost."""
        where = {"_id": claimed.id, "lease_token": claimed.lease_token}
        free = {"lease_token": "", "lease_expires_at": LONG_AGO}
        return await self.deletions.update(where, {**free, **changes}, messages=messages)

    async def tell(self, claimed: Deletion, messages: Sequence[Message]) -> None:
        """Have other services delete their part; the messages survive a kill of this process."""
        await self.deletions.update({"_id": claimed.id}, {"problem": ""}, messages=messages)


class Erasure:
    """Everything that belongs to a version, link, dataset, training or account, to read and to delete."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all_of(self, document: type[D], where: Where) -> list[D]:
        """Return every match."""
        return [item async for item in self._database.collection(document).each(where)]

    async def any_of(self, document: type[D], where: Where) -> bool:
        """Say whether there is a match."""
        return await self._database.collection(document).find_one(where) is not None

    async def delete(self, where: Where, *documents: type[Document]) -> None:
        """Delete every match in each collection; those of other services delete their own."""
        for document in documents:
            await self._database.collection(document).delete(where)

    async def delete_mentions(self, user_id: str, email: str, words: Sequence[str]) -> None:
        """Delete what the account was told about something, wherever one of the words stands."""
        told: tuple[tuple[type[Document], Where], ...] = (
            (Notification, {"user_id": user_id}),
            (WebhookDelivery, {"user_id": user_id}),
            (Mail, {"to": email}),
        )
        for document, where in told:
            for item in await self.all_of(document, where):
                if any(word in item.model_dump_json() for word in words):
                    await self._database.collection(document).delete({"_id": item.id})
