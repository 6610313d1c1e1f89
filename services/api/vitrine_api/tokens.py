"""API tokens: shown once, kept as hashes, with scopes and an end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from vitrine_api import audit
from vitrine_api.credentials import TOKEN_PREFIX, hash_secret, new_api_token
from vitrine_api.policy import ALL_SCOPES, Action, Member, require
from vitrine_api.repository import Accounts, Page, page_of
from vitrine_common.clock import utcnow
from vitrine_common.documents import ApiToken, Scope, User
from vitrine_common.errors import Denied
from vitrine_common.ids import new_id

_USED_EVERY = timedelta(minutes=1)


class Tokens:
    """Makes, recognises and revokes tokens."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def issue(
        self, user: User, label: str, scopes: Sequence[Scope], expires_at: datetime | None
    ) -> tuple[ApiToken, str]:
        """Return a new token of `user` and its secret."""
        secret = new_api_token()
        token = ApiToken(
            id=new_id("token"),
            user_id=user.id,
            label=label,
            token_hash=hash_secret(secret),
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
        await self._accounts.tokens.insert(token)
        await audit.record(self._accounts, user.id, "token.created", token)
        return token, secret

    async def create(
        self, member: Member, label: str, scopes: Sequence[Scope], expires_at: datetime | None
    ) -> tuple[ApiToken, str]:
        """Like `issue`, on behalf of a member. Raises Denied for more than the member may do."""
        require(member, Action.CHANGE, None)
        if beyond := [scope for scope in ALL_SCOPES if scope in scopes and scope not in member.scopes]:
            raise Denied(f"a token cannot make one that may do more: it lacks the scope `{beyond[0]}` itself")
        return await self.issue(member.user, label, scopes, expires_at)

    async def member(self, secret: str) -> Member | None:
        """Return whose token it is, or None."""
        if not secret.startswith(TOKEN_PREFIX):
            return None
        token = await self._accounts.token_by_hash(hash_secret(secret))
        user = await self._accounts.user(token.user_id) if token else None
        if token is None or user is None:
            return None
        if token.last_used_at is None or utcnow() - token.last_used_at > _USED_EVERY:
            await self._accounts.token_used(token)
        works_on = await self._accounts.collaborations(user.id)
        models = frozenset(item.model_id for item in works_on)
        return Member(
            user,
            frozenset(token.scopes),
            token_id=token.id,
            collaborates=models,
            ends_at=token.expires_at,
        )

    async def page(self, member: Member, limit: int, after: str | None) -> Page[ApiToken]:
        """Return the member's tokens."""
        require(member, Action.SEE, None)
        return await page_of(self._accounts.tokens, {"user_id": member.id}, limit, after)

    async def revoke(self, member: Member, token_id: str) -> None:
        """Delete a token. Raises NotFound."""
        token = await self._accounts.tokens.get(token_id)
        require(member, Action.CHANGE, token)
        await self._drop(member, token)

    async def drop(self, member: Member, token_id: str) -> None:
        """Delete the token that `member` presents, whatever its scopes. Raises NotFound."""
        await self._drop(member, await self._accounts.tokens.get(token_id))

    async def _drop(self, member: Member, token: ApiToken) -> None:
        await self._accounts.tokens.delete({"_id": token.id, "user_id": member.id})
        await audit.record(self._accounts, member, "token.revoked", token)
