"""The audit log: every grant, use and revocation, for the owner concerned and for the operator.

What never stands in it: inputs, outputs, addresses, and any use of a blind link.
"""

from __future__ import annotations

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

    Whatever the holder of a blind link does is not noted at all: its time alone could tell who it was.
    """
    if isinstance(actor, Visitor) and actor.link.blind:
        return
    found = owner_id or getattr(resource, "owner_id", None) or getattr(resource, "user_id", None) or ""
    if isinstance(resource, AuditEntry):
        raise TypeError("the audit log is no subject of itself")
    entry = AuditEntry(
        id=new_id("audit"),
        actor=_name_of(actor),
        action=action,
        kind=resource.noun(),
        subject=resource.id,
        owner_id=found,
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

    async def page(self, member: Member, limit: int, after: str | None) -> Page[AuditEntry]:
        """Return what was done to the member's own things, newest first."""
        require(member, Action.SEE, None)
        return await page_of(self._accounts.audit, {"owner_id": member.id}, limit, after)

    async def page_of_all(self, member: Member, limit: int, after: str | None) -> Page[AuditEntry]:
        """Return everything that was done, newest first; operators only."""
        require(member, Action.OPERATE, None)
        return await page_of(self._accounts.audit, {}, limit, after)
