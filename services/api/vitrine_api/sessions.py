"""Web logins: a random secret in an HttpOnly cookie, its hash in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.policy import ALL_SCOPES, Action, Member, require
from vitrine_api.repository import Accounts
from vitrine_common.clock import after
from vitrine_common.documents import Session, User
from vitrine_common.errors import NotFound


@dataclass(frozen=True)
class OpenSession:
    """A web login, for the account that it is of; `id` names it and opens nothing."""

    id: str
    label: str
    created_at: datetime
    expires_at: datetime
    current: bool


def _public_id(session: Session) -> str:
    return hash_secret(session.id)[:16]


class Sessions:
    """Opens, recognises and ends web logins.

    Args:
        accounts: where they are kept.
        seconds: how long one lives.
    """

    def __init__(self, accounts: Accounts, seconds: int) -> None:
        self._accounts = accounts
        self.seconds = seconds

    async def open(self, user: User, label: str = "") -> str:
        """Return the secret of a new session; `label` says where it was opened."""
        secret = new_secret()
        session = Session(
            id=hash_secret(secret), user_id=user.id, expires_at=after(self.seconds), label=label[:100]
        )
        await self._accounts.sessions.insert(session)
        return secret

    async def member(self, secret: str) -> Member | None:
        """Return whose session it is, or None."""
        session = await self._accounts.session(hash_secret(secret))
        user = await self._accounts.user(session.user_id) if session else None
        if user is None:
            return None
        works_on = await self._accounts.collaborations(user.id)
        models = frozenset(item.model_id for item in works_on)
        return Member(user, frozenset(ALL_SCOPES), session=secret, collaborates=models)

    async def of(self, member: Member) -> list[OpenSession]:
        """Return where the member is logged in, the newest first."""
        require(member, Action.SEE, None)
        own = hash_secret(member.session) if member.session else ""
        return [
            OpenSession(_public_id(item), item.label, item.created_at, item.expires_at, item.id == own)
            for item in await self._accounts.sessions_of(member.id)
        ]

    async def end_one(self, member: Member, public_id: str) -> None:
        """End one of the member's sessions. Raises NotFound."""
        require(member, Action.CHANGE, None)
        for item in await self._accounts.sessions_of(member.id):
            if _public_id(item) == public_id:
                await self._accounts.sessions.delete({"_id": item.id})
                return
        raise NotFound(f"there is no session {public_id}")

    async def end_others(self, member: Member) -> None:
        """End every session of the member but the one that asks."""
        require(member, Action.CHANGE, None)
        await self._accounts.end_sessions(member.id, hash_secret(member.session) if member.session else "")

    async def end(self, secret: str) -> None:
        """End a session; one that is not there is no error."""
        await self._accounts.sessions.delete({"_id": hash_secret(secret)})
