"""Invites to the instance, by operators, and to work on a model, by its owner: one use, an end, revocable."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from vitrine_api import audit
from vitrine_api.collaborators import Collaborators
from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import Invite, Model, Role
from vitrine_common.errors import Gone, Invalid, Problem
from vitrine_common.ids import new_id

GONE = "this invite does not exist, was used, or has expired; ask for another"


class Invites:
    """Makes, lists, takes and withdraws invites.

    Args:
        accounts: where they are kept.
        collaborators: whom invites to a model make.
        mail: how they are sent.
        base_url: how people reach the platform.
    """

    def __init__(
        self, accounts: Accounts, collaborators: Collaborators, mail: MailOutbox, base_url: str
    ) -> None:
        self._accounts = accounts
        self._collaborators = collaborators
        self._mail = mail
        self._base_url = base_url

    async def create(
        self,
        member: Member,
        email: str | None,
        lifetime: timedelta,
        *,
        model: Model | None = None,
        roles: Sequence[Role] = (),
        send: bool = False,
    ) -> tuple[Invite, str]:
        """Return a new invite and its code, which is shown once.

        Args:
            member: who invites: the model's owner, else an operator.
            email: the only address that may use it; None for whoever has the code.
            lifetime: how long it is good.
            model: what to work on.
            roles: what the new account is on the instance; given by operators.
            send: whether it is mailed to `email`.

        Raises Invalid when it is to be sent nowhere.
        """
        if model is None or roles:
            require(member, Action.OPERATE, None)
        if model is not None:
            require(member, Action.CHANGE, model)
        if send and not email:
            raise Invalid("email: is missing, so there is nowhere to send the invite", _MISSING)
        code = new_secret(128)
        invite = Invite(
            id=new_id("invite"),
            code_hash=hash_secret(code),
            email=email.strip().lower() if email else None,
            invited_by=member.id,
            expires_at=utcnow() + lifetime,
            model_id=model.id if model else "",
            model=f"{model.owner}/{model.name}" if model else "",
            roles=sorted(set(roles)),
        )
        if send and invite.email:
            await self._mail.post(invite.email, "You are invited", self._text(member, invite, code), lifetime)
        await self._accounts.invites.insert(invite)
        await audit.record(self._accounts, member, "invite.created", invite, owner_id=member.id)
        return invite, code

    def url(self, invite: Invite, code: str) -> str:
        """Return where an invite is taken."""
        return f"{self._base_url}/{'join' if invite.model_id else 'signup'}?invite={code}"

    def _text(self, member: Member, invite: Invite, code: str) -> str:
        what = f"to work on {invite.model}" if invite.model_id else "to make an account on this Vitrine"
        return (
            f"{member.user.name} invites you {what}:\n\n{self.url(invite, code)}\n\n"
            f"The invite works once, until {invite.expires_at:%Y-%m-%d %H:%M} UTC."
        )

    async def look(self, code: str) -> Invite:
        """Return the open invite of a code. Raises Gone."""
        invite = await self._accounts.open_invite(hash_secret(code))
        if invite is None:
            raise Gone(GONE)
        return invite

    async def accept(self, member: Member, code: str) -> Invite:
        """Take an invite to a model with an account that is there. Raises Gone, Invalid."""
        require(member, Action.CHANGE, None)
        invite = await self.look(code)
        if not invite.model_id:
            raise Invalid("this invite makes an account, and you have one")
        if invite.email is not None and invite.email != member.user.email:
            raise Invalid("this invite is for another e-mail address than your account's")
        if not await self._accounts.use_invite(invite, member.id):
            raise Gone(GONE)
        await self._collaborators.join(invite, member.user)
        return invite

    async def page(self, member: Member, limit: int, after: str | None) -> Page[Invite]:
        """Return every invite to an operator, to others their own."""
        require(member, Action.SEE, None)
        where = {} if member.user.operator else {"invited_by": member.id}
        return await page_of(self._accounts.invites, where, limit, after)

    async def of_model(self, member: Member, model: Model) -> list[Invite]:
        """Return the open invites to a model, for its owner."""
        require(member, Action.CHANGE, model)
        where = {"invited_by": member.id, "model_id": model.id, "expires_at": {"$gt": utcnow()}}
        return [item for item in await self._accounts.invites.find(where, limit=200) if item.used_by is None]

    async def withdraw(self, member: Member, invite_id: str) -> None:
        """Delete an invite. Raises NotFound."""
        invite = await self._accounts.invites.get(invite_id)
        require(member, Action.CHANGE, invite)
        await self._accounts.invites.delete({"_id": invite.id})
        await audit.record(self._accounts, member, "invite.withdrawn", invite, owner_id=member.id)


_MISSING = (Problem("email", "is missing"),)
