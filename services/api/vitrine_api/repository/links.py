"""Share links, and mails on their way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from vitrine_api.repository.paging import MAX_PAGE, Where, by_ids
from vitrine_common.clock import utcnow
from vitrine_common.documents import LinkAttempts, LinkCode, LinkPass, Mail, ShareLink
from vitrine_common.states import MAIL, MailState
from vitrine_common.store import Database


class Links:
    """Share links and their quotas."""

    def __init__(self, database: Database) -> None:
        self.links = database.collection(ShareLink)
        self.passes = database.collection(LinkPass)
        self.codes = database.collection(LinkCode)
        self.attempts = database.collection(LinkAttempts)

    async def by_token_hash(self, token_hash: str) -> ShareLink | None:
        """Return the link, or None."""
        return await self.links.find_one({"token_hash": token_hash})

    async def public(self, limit: int) -> list[ShareLink]:
        """Return the newest public links, whether they still work or not."""
        return await self.links.find({"access": "public"}, limit=limit)

    async def by_ids(self, ids: Iterable[str]) -> dict[str, ShareLink]:
        """Return links by id."""
        return await by_ids(self.links, ids)

    async def of_group(self, group_id: str) -> list[ShareLink]:
        """Return the links that were made together."""
        return await self.links.find({"group_id": group_id}, limit=MAX_PAGE)

    async def expiring(self, owner_id: str, until: datetime) -> list[ShareLink]:
        """Return the owner's links that expire between now and then, the next first."""
        where = {"owner_id": owner_id, "expires_at": {"$gt": utcnow(), "$lte": until}}
        found = await self.links.find(where, (("expires_at", 1),), 50)
        return [link for link in found if link.revoked_at is None]

    async def of_version(self, version_id: str) -> list[ShareLink]:
        """Return the links of a version, newest first."""
        return await self.links.find({"version_id": version_id}, limit=1000)

    async def count_run(self, link: ShareLink, changes: Where, by: int) -> ShareLink | None:
        """Count `by` runs and write `changes`, if the quota allows; None, and nothing is done, if not.

        The rate's times are compared and set: of two that read the same ones, one writes.
        """
        where: dict[str, Any] = {"_id": link.id}
        if by > 0 and link.max_runs is not None:
            where["runs_used"] = {"$lte": link.max_runs - by}
        increments = {"runs_used": by}
        if "rate_times" in changes:
            where["rate_revision"] = link.rate_revision
            increments["rate_revision"] = 1
        return await self.links.update(where, {**changes, "last_run_at": utcnow()}, increments=increments)

    async def count_opened(self, link: ShareLink) -> None:
        """Count one more visitor."""
        await self.links.update({"_id": link.id}, {"owner_id": link.owner_id}, increments={"opened": 1})

    async def take_code_attempt(self, code_id: str) -> LinkCode | None:
        """Use up one attempt at a code; None where there is no code, or none is left."""
        where = {"_id": code_id, "attempts_left": {"$gt": 0}}
        known = await self.codes.find_one(where)
        if known is None:
            return None
        return await self.codes.update(where, {"salt": known.salt}, increments={"attempts_left": -1})

    async def sweep(self) -> None:
        """Delete passes and codes that have expired, and counts of attempts that nobody made lately."""
        now = utcnow()
        await self.passes.delete({"expires_at": {"$lt": now}})
        await self.codes.delete({"expires_at": {"$lt": now}})
        await self.attempts.delete({"last_at": {"$lt": now - timedelta(days=2)}})


class Mails:
    """E-mail on its way, and what became of it."""

    def __init__(self, database: Database) -> None:
        self.mails = database.collection(Mail)

    async def due(self) -> list[Mail]:
        """Return some mails that may be sent now, the longest waiting first."""
        where = {"state": MailState.WAITING, "due_at": {"$lte": utcnow()}}
        return await self.mails.find(where, (("due_at", 1),), 50)

    async def next_due_at(self) -> datetime | None:
        """Return when the next waiting mail may be sent; None when none waits."""
        found = await self.mails.find({"state": MailState.WAITING}, (("due_at", 1),), 1)
        return found[0].due_at if found else None

    async def delete_ended(self, before: datetime) -> None:
        """Delete mails that ended and were made before then."""
        await self.mails.delete({"state": {"$in": MAIL.final}, "created_at": {"$lt": before}})
