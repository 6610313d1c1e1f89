"""What accounts use of their quotas."""

from __future__ import annotations

from collections.abc import Mapping

from vitrine_common.documents import AccountUse, BlobGrant, BuildCharge
from vitrine_common.errors import Conflict
from vitrine_common.store import Database

STORAGE = "storage"


class Usage:
    """Counters of accounts; a counter is compared and raised in one step."""

    def __init__(self, database: Database) -> None:
        self.use = database.collection(AccountUse)
        self.charges = database.collection(BuildCharge)
        self._grants = database.collection(BlobGrant)

    async def of(self, user_id: str, period: str) -> AccountUse:
        """Return what the account uses: its storage, or what it used on a day; made if there is none yet."""
        use_id = f"{user_id}:{period}"
        found = await self.use.find_one({"_id": use_id})
        if found is not None:
            return found
        stored = await self.stored_bytes(user_id) if period == STORAGE else 0
        try:
            return await self.use.insert(AccountUse(id=use_id, user_id=user_id, storage_bytes=stored))
        except Conflict:
            return await self.use.get(use_id)

    async def stored_bytes(self, user_id: str) -> int:
        """Return the bytes that the account was granted, added up."""
        where: Mapping[str, object] = {"user_id": user_id}
        rows = await self._grants.aggregate(
            [{"$match": where}, {"$group": {"_id": "$user_id", "bytes": {"$sum": "$size"}}}]
        )
        return int(rows[0]["bytes"]) if rows else 0

    async def take(self, use: AccountUse, counter: str, amount: int, limit: int | None) -> AccountUse | None:
        """Raise a counter by `amount`; None, and nothing is done, when that is beyond `limit`."""
        where: dict[str, object] = {"_id": use.id}
        if limit is not None:
            where[counter] = {"$lte": limit - amount}
        return await self.use.update(where, {"user_id": use.user_id}, increments={counter: amount})

    async def give(self, use_id: str, user_id: str, counter: str, amount: int) -> None:
        """Lower a counter."""
        await self.use.update({"_id": use_id}, {"user_id": user_id}, increments={counter: -amount})
