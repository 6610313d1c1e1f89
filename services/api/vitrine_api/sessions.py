"""Web logins: a random secret in an HttpOnly cookie, its hash in the database."""

from __future__ import annotations

from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.policy import ALL_SCOPES, Member
from vitrine_api.repository import Accounts
from vitrine_common.clock import after
from vitrine_common.documents import Session, User


class Sessions:
    """Opens, recognises and ends web logins.

    Args:
        accounts: where they are kept.
        seconds: how long one lives.
    """

    def __init__(self, accounts: Accounts, seconds: int) -> None:
        self._accounts = accounts
        self.seconds = seconds

    async def open(self, user: User) -> str:
        """Return the secret of a new session."""
        secret = new_secret()
        session = Session(id=hash_secret(secret), user_id=user.id, expires_at=after(self.seconds))
        await self._accounts.sessions.insert(session)
        return secret

    async def member(self, secret: str) -> Member | None:
        """Return whose session it is, or None."""
        session = await self._accounts.session(hash_secret(secret))
        user = await self._accounts.user(session.user_id) if session else None
        return Member(user, frozenset(ALL_SCOPES), session=secret) if user else None

    async def end(self, secret: str) -> None:
        """End a session; one that is not there is no error."""
        await self._accounts.sessions.delete({"_id": hash_secret(secret)})
