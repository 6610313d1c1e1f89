"""Invites: the only way to an account."""

from __future__ import annotations

from datetime import timedelta

from vitrine_api import audit
from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import Invite
from vitrine_common.ids import new_id


class Invites:
    """Makes, lists and withdraws invites; operators only."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def create(self, member: Member, email: str | None, lifetime: timedelta) -> tuple[Invite, str]:
        """Return a new invite and its code, which is shown once."""
        require(member, Action.OPERATE, None)
        code = new_secret(128)
        invite = Invite(
            id=new_id("invite"),
            code_hash=hash_secret(code),
            email=email.strip().lower() if email else None,
            invited_by=member.id,
            expires_at=utcnow() + lifetime,
        )
        await self._accounts.invites.insert(invite)
        await audit.record(self._accounts, member, "invite.created", invite, owner_id=member.id)
        return invite, code

    async def page(self, member: Member, limit: int, after: str | None) -> Page[Invite]:
        """Return every invite."""
        require(member, Action.OPERATE, None)
        return await page_of(self._accounts.invites, {}, limit, after)

    async def withdraw(self, member: Member, invite_id: str) -> None:
        """Delete an invite. Raises NotFound."""
        require(member, Action.OPERATE, None)
        invite = await self._accounts.invites.get(invite_id)
        await self._accounts.invites.delete({"_id": invite.id})
        await audit.record(self._accounts, member, "invite.withdrawn", invite, owner_id=member.id)
