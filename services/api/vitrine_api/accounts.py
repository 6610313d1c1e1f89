"""Accounts: logging in, and coming to be by an invite."""

from __future__ import annotations

import re
from typing import Literal

from vitrine_api import audit
from vitrine_api.collaborators import Collaborators
from vitrine_api.credentials import hash_secret
from vitrine_api.passwords import Passwords, check_password
from vitrine_api.repository import Accounts
from vitrine_common.documents import Invite, User
from vitrine_common.errors import Conflict, Denied, Gone, Invalid, Problem, Unauthenticated
from vitrine_common.ids import new_id

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?")
EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
Signup = Literal["open", "invite", "closed"]
RESERVED = frozenset({"admin", "api", "join", "login", "logout", "models", "reset"}) | frozenset(
    {"s", "settings", "signup", "static", "vitrine"}
)


class Registry:
    """Knows who has an account.

    Args:
        accounts: where they are kept.
        passwords: how passwords are hashed.
        collaborators: whom invites to a model make.
        signup: who may make an account: anybody, whoever has an invite, nobody.
        owners_may_invite: whether an invite by a model's owner makes an account.
    """

    def __init__(
        self,
        accounts: Accounts,
        passwords: Passwords,
        collaborators: Collaborators,
        *,
        signup: Signup = "invite",
        owners_may_invite: bool = True,
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._collaborators = collaborators
        self._signup = signup
        self._owners_may_invite = owners_may_invite

    async def authenticate(self, login: str, password: str) -> User:
        """Return the account of an e-mail address or name and its password.

        Raises Unauthenticated, after the same time and with the same words whether the account exists or not.
        """
        user = await self._accounts.user_by_login(login)
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right:
            raise Unauthenticated("the e-mail address or the password is wrong")
        await audit.record(self._accounts, user.id, "login", user, owner_id=user.id)
        return user

    async def sign_up(self, code: str, email: str, name: str, password: str) -> User:
        """Return a new account, by an invite unless sign-up is open.

        Raises Denied, Invalid, Gone, Conflict.
        """
        if self._signup == "closed":
            raise Denied("nobody can make an account here; ask whoever operates this instance")
        email, name = email.strip().lower(), name.strip().lower()
        check_account(email, name)
        check_password(password)
        invite = await self._invite(code, email) if code or self._signup == "invite" else None
        hashed = await self._passwords.hash(password)
        user = User(
            id=new_id("user"),
            email=email,
            name=name,
            password_hash=hashed,
            roles=invite.roles if invite else [],
        )
        if invite is not None and not await self._accounts.use_invite(invite, user.id):
            raise Gone("this invite was used a moment ago; ask for another")
        try:
            await self._accounts.users.insert(user)
        except Conflict:
            if invite is not None:
                await self._accounts.release_invite(invite, user.id)
            raise Conflict(
                "this e-mail address or name is taken", (Problem("name", "this name or address is taken"),)
            ) from None
        actor = invite.invited_by if invite else user.id
        await audit.record(self._accounts, actor, "account.created", user, owner_id=user.id)
        if invite is not None and invite.model_id:
            await self._collaborators.join(invite, user)
        return user

    async def _invite(self, code: str, email: str) -> Invite:
        invite = await self._accounts.open_invite(hash_secret(code))
        if invite is None:
            raise Gone("this invite does not exist, was used, or has expired; ask for another")
        if invite.email is not None and invite.email != email:
            raise _field("email", f"the invite is for {invite.email}")
        if invite.model_id and self._signup == "invite" and not self._owners_may_invite:
            raise Denied("this invite is for those who have an account; ask the operator for one")
        return invite


def check_account(email: str, name: str) -> None:
    """Raise Invalid unless `email` looks like an address and `name` can be an owner's name."""
    problems = []
    if not EMAIL.fullmatch(email):
        problems.append(Problem("email", "is no e-mail address"))
    if not _NAME.fullmatch(name):
        problems.append(Problem("name", "take 1 to 39 lower-case letters, digits and inner dashes"))
    elif name in RESERVED:
        problems.append(Problem("name", f"`{name}` is reserved; take another"))
    if problems:
        raise Invalid("; ".join(f"{item.field}: {item.message}" for item in problems), tuple(problems))


def name_from(email: str) -> str:
    """Return a user name made of an address, up to its @, or of what somebody is called elsewhere."""
    plain = re.sub(r"[^a-z0-9]+", "-", email.partition("@")[0].lower()).strip("-")
    return plain[:39].strip("-") or "owner"


def _field(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", (Problem(field, message),))
