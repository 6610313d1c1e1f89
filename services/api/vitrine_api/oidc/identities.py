"""Whose account a provider's account is: found, made or connected, never guessed."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from vitrine_api import audit
from vitrine_api.accounts import EMAIL, check_account, name_from
from vitrine_api.oidc.provider import Told
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts
from vitrine_api.settings import ApiSettings
from vitrine_common.clock import utcnow
from vitrine_common.documents import Identity, User
from vitrine_common.errors import Conflict, Denied, Invalid, NotFound
from vitrine_common.ids import new_id

_NAMES_TRIED = 50
_CUT_SHORT = timedelta(minutes=1)
"""After that, an identity without its account is what a crash left."""


class Identities:
    """Knows which accounts of a provider belong to which accounts here.

    Args:
        accounts: where both are kept.
        settings: which addresses may log in, and whether accounts are made.
    """

    def __init__(self, accounts: Accounts, settings: ApiSettings) -> None:
        self._accounts = accounts
        self._domains = frozenset(
            domain.strip().lower().lstrip("@")
            for domain in settings.oidc_domains.split(",")
            if domain.strip()
        )
        self._makes_accounts = settings.oidc_creates_accounts

    async def log_in(self, told: Told) -> User:
        """Return the account of whoever logged in, made if the settings say so.

        An account is never taken for somebody's because of its address alone: whoever has it may not be who
        has the address at the provider. Raises Denied, Conflict.
        """
        self._check_domain(told)
        known = await self._accounts.identities.find_one({"_id": identity_id(told)})
        user = await self._accounts.user(known.user_id) if known else None
        if user is None:
            user = await self._make(told, known)
        await audit.record(self._accounts, user.id, "login:oidc", user, owner_id=user.id)
        return user

    async def connect(self, member: Member, told: Told) -> None:
        """Let a provider's account log in to the member's. Idempotent. Raises Denied, Conflict."""
        require(member, Action.CHANGE, None)
        self._check_domain(told)
        identity = _identity(told, member.id)
        try:
            await self._accounts.identities.insert(identity)
        except Conflict:
            known = await self._accounts.identities.get(identity.id)
            if known.user_id != member.id:
                raise Conflict("it is connected to another account here") from None
            return
        await audit.record(self._accounts, member, "identity.connected", identity, owner_id=member.id)

    async def of(self, member: Member) -> list[Identity]:
        """Return what is connected to the member's account."""
        require(member, Action.SEE, None)
        return await self._accounts.identities.find({"user_id": member.id}, limit=50)

    async def remove(self, member: Member, identity: str) -> None:
        """Let it log in no more. Raises NotFound, Conflict where nothing else would open the account."""
        require(member, Action.CHANGE, None)
        found = await self._accounts.identities.find_one({"_id": identity, "user_id": member.id})
        if found is None:
            raise NotFound(f"nothing of that name is connected: {identity}")
        if not member.user.password_hash:
            raise Conflict("this account has no password; set one first, by Forgotten password")
        await self._accounts.identities.delete({"_id": found.id})
        await audit.record(self._accounts, member, "identity.removed", found, owner_id=member.id)

    def _check_domain(self, told: Told) -> None:
        if not self._domains:
            return
        domain = told.email.rpartition("@")[2]
        if not told.is_verified or domain not in self._domains:
            raise Denied(f"only addresses of {', '.join(sorted(self._domains))} may log in here")

    async def _make(self, told: Told, left: Identity | None) -> User:
        if not told.is_verified or not EMAIL.fullmatch(told.email):
            raise Denied("the provider vouches for no e-mail address of yours, and an account needs one")
        if await self._accounts.user_by_login(told.email) is not None:
            raise Conflict(
                f"{told.email} has an account here already; log in with its password once, then connect it "
                "under Settings"
            )
        if not self._makes_accounts:
            raise Denied(
                f"{told.email} has no account here; ask whoever operates this instance for an invite"
            )
        identity = _identity(told, new_id("user"))
        if left is not None and left.created_at < utcnow() - _CUT_SHORT:
            await self._accounts.identities.delete({"_id": left.id, "user_id": left.user_id})
        try:
            await self._accounts.identities.insert(identity)
        except Conflict:
            raise Conflict("this account is being made; try again in a moment") from None
        return await self._new_user(identity, told)

    async def _new_user(self, identity: Identity, told: Told) -> User:
        wanted = name_from(told.user_name or told.email)
        for number in range(1, _NAMES_TRIED):
            name = wanted if number == 1 else f"{wanted[:35]}-{number}"
            try:
                check_account(told.email, name)
                user = User(id=identity.user_id, email=told.email, name=name, password_hash="")
                await self._accounts.users.insert(user)
            except (Invalid, Conflict):  # the name is reserved or taken, or the address was a moment ago
                if await self._accounts.user_by_login(told.email) is not None:
                    break
                continue
            await audit.record(self._accounts, user.id, "account.created", user, owner_id=user.id)
            return user
        await self._accounts.identities.delete({"_id": identity.id})
        raise Conflict(f"no account could be made for {told.email}; try again")


def identity_id(told: Told) -> str:
    """Return the id of a provider's account: a digest of issuer and subject."""
    return hashlib.sha256(f"{told.issuer}\n{told.subject}".encode()).hexdigest()


def _identity(told: Told, user_id: str) -> Identity:
    return Identity(
        id=identity_id(told), user_id=user_id, issuer=told.issuer, subject=told.subject, email=told.email
    )
