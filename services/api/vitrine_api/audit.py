"""The audit log: every grant, use and revocation, for the owner concerned and for the operator.

What never stands in it: inputs, outputs, addresses, and any use of a blind link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vitrine_api.policy import Action, Member, Principal, Visitor, require
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_common.documents import AuditEntry, Document
from vitrine_common.ids import new_id

SYSTEM = "system"
"""The actor of what nobody asked for: an expiry, a clean-up."""


async def record(
    accounts: Accounts,
    actor: Principal | str,
    action: str,
    resource: Document,
    *,
    owner_id: str | None = None,
) -> None:
    """Note that `actor` did `action` (`noun.past`, such as `link.revoked`) to `resource`.

    Args:
        accounts: where the log is kept.
        actor: who; a user's id or `SYSTEM` where there is no principal. Anonymous ones count as system.
        action: what, `noun.past`.
        resource: to what.
        owner_id: in whose log it stands; without it, the resource's owner or account.

    Whatever the holder of a blind link, or of a venue's, does is not noted at all: its time alone could tell
    who it was.
    """
    if isinstance(actor, Visitor) and (actor.link.blind or actor.link.venue_id):
        return
    found = owner_id or getattr(resource, "owner_id", None) or getattr(resource, "user_id", None) or ""
    if isinstance(resource, AuditEntry):
        raise TypeError("the audit log is no subject of itself")
    await record_named(accounts, actor, action, kind=resource.noun(), subject=resource.id, owner_id=found)


async def record_named(
    accounts: Accounts, actor: Principal | str, action: str, *, kind: str, subject: str, owner_id: str = ""
) -> None:
    """Note what was done to something that is no document; without `owner_id`, for operators alone."""
    entry = AuditEntry(
        id=new_id("audit"),
        actor=_name_of(actor),
        action=action,
        kind=kind,
        subject=subject,
        owner_id=owner_id,
    )
    await accounts.audit.insert(entry)


def _name_of(actor: Principal | str) -> str:
    match actor:
        case str():
            return actor
        case Member():
            return actor.id
        case Visitor():
            return f"link:{actor.link.id}"
    return SYSTEM


class AuditLog:
    """Reads the log."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def page(self, member: Member, limit: int, after: str | None, action: str = "") -> Page[AuditEntry]:
        """Return what was done to the member's own things, newest first; only `action` where it is given."""
        require(member, Action.SEE, None)
        return await self._page({"owner_id": member.id}, limit, after, action)

    async def page_of_all(
        self, member: Member, limit: int, after: str | None, action: str = ""
    ) -> Page[AuditEntry]:
        """Return everything that was done, newest first; operators only."""
        require(member, Action.OPERATE, None)
        return await self._page({}, limit, after, action)

    async def _page(
        self, where: Mapping[str, str], limit: int, after: str | None, action: str
    ) -> Page[AuditEntry]:
        wanted = {**where, "action": action} if action else where
        return await page_of(self._accounts.audit, wanted, limit, after)

    async def names(self, entries: Iterable[AuditEntry]) -> dict[str, str]:
        """Return the names of the accounts that acted, by their ids."""
        users = await self._accounts.users_by_ids(
            entry.actor for entry in entries if entry.actor.startswith("user")
        )
        return {user_id: user.name for user_id, user in users.items()}
