"""Database calls of receipts: what was issued, by which keys, and what it is issued about."""

from __future__ import annotations

from datetime import datetime

from vitrine_common.clock import after, utcnow
from vitrine_common.documents import (
    Environment,
    Receipt,
    Run,
    RunRequest,
    ShareLink,
    SigningKey,
    Version,
)
from vitrine_common.errors import Conflict
from vitrine_common.store import Database

MAX_KEYS = 1000
_CLOCKS_DIFFER_SECONDS = 300
"""How far behind the clock of another host that signs with the same key may be."""


class ReceiptRepository:
    """Receipts and public keys (written), runs and what they were about (read)."""

    def __init__(self, database: Database) -> None:
        self._receipts = database.collection(Receipt)
        self._keys = database.collection(SigningKey)
        self._runs = database.collection(Run)
        self._requests = database.collection(RunRequest)
        self._versions = database.collection(Version)
        self._links = database.collection(ShareLink)
        self._environments = database.collection(Environment)

    async def receipt(self, subject_id: str) -> Receipt | None:
        """Return the receipt of a run or check, or None."""
        return await self._receipts.find_one({"_id": Receipt.id_of(subject_id)})

    async def add(self, receipt: Receipt) -> Receipt:
        """Store a receipt; where there is one already, that one stays and is returned."""
        try:
            return await self._receipts.insert(receipt)
        except Conflict:
            return await self._receipts.get(receipt.id)

    async def of_version(self, version_id: str, limit: int) -> list[Receipt]:
        """Return the newest receipts that name a version."""
        return await self._receipts.find({"version_id": version_id}, limit=limit)

    async def version(self, version_id: str) -> Version:
        """Return a version. Raises NotFound."""
        return await self._versions.get(version_id)

    async def link(self, link_id: str) -> ShareLink:
        """Return a link. Raises NotFound."""
        return await self._links.get(link_id)

    async def environment(self, digest: str) -> Environment | None:
        """Return an environment, or None."""
        return await self._environments.find_one({"_id": digest})

    async def run(self, run_id: str) -> tuple[RunRequest, Run]:
        """Return a run with what was asked for. Raises NotFound."""
        return await self._requests.get(run_id), await self._runs.get(run_id)

    async def runs_of_link(self, link_id: str, limit: int) -> list[Run]:
        """Return the newest runs by a link."""
        return await self._runs.find({"link_id": link_id}, limit=limit)

    async def requested_after(self, run_id: str, limit: int) -> list[str]:
        """Return the ids of requests above an id, lowest first: ids sort by time."""
        found = await self._requests.find({"_id": {"$gt": run_id}}, (("_id", 1),), limit)
        return [request.id for request in found]

    async def runs(self, run_ids: list[str]) -> dict[str, Run]:
        """Return runs by id."""
        found = await self._runs.find({"_id": {"$in": run_ids}}, (("_id", 1),), len(run_ids))
        return {run.id: run for run in found}

    async def with_receipt(self, subject_ids: list[str]) -> set[str]:
        """Return those of the ids that have a receipt."""
        ids = [Receipt.id_of(subject_id) for subject_id in subject_ids]
        found = await self._receipts.find({"_id": {"$in": ids}}, (("_id", 1),), len(ids))
        return {receipt.subject_id for receipt in found}

    async def keys(self) -> list[SigningKey]:
        """Return every public key there ever was, oldest first."""
        return await self._keys.find({}, (("not_before", 1),), MAX_KEYS)

    async def key(self, key_id: str) -> SigningKey:
        """Return a public key. Raises NotFound."""
        return await self._keys.get(key_id)

    async def add_key(self, key_id: str, raw: bytes) -> None:
        """Make a public key known from now on; one that is known stays as it is."""
        started = after(-_CLOCKS_DIFFER_SECONDS)
        document = SigningKey(id=key_id, public_key=raw.hex(), not_before=started)
        try:
            await self._keys.insert(document)
        except Conflict:
            return

    async def retire_key(self, key_id: str, at: datetime) -> None:
        """Let a key be used no longer than to `at`."""
        await self._keys.update({"_id": key_id}, {"not_after": at})

    async def revoke_key(self, key_id: str, reason: str) -> None:
        """Take back all trust in a key. Raises StaleState for one that is not known."""
        await self._keys.require({"_id": key_id}, {"revoked_at": utcnow(), "reason": reason})
