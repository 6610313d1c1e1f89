"""Passwords and addresses: changed by their owner, and a forgotten password set anew by mail."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import timedelta

from vitrine_api import audit
from vitrine_api.accounts import EMAIL
from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.errors import RateLimited
from vitrine_api.link_attempts import PER_MAILBOX, Attempts
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.passwords import Passwords, check_password
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Repository
from vitrine_common.clock import utcnow
from vitrine_common.documents import AccountTicket, User
from vitrine_common.errors import Conflict, Gone, Invalid, Problem

RESET_LIFE = timedelta(minutes=30)
CONFIRM_LIFE = timedelta(days=1)
_ANSWER_SECONDS = 0.3
_GONE = "this address was used, or is too old; ask for another"


class Credentials:
    """Changes what an account logs in with.

    Args:
        repository: accounts, and the counts of mails that were asked for.
        passwords: how passwords are hashed.
        mail: how tickets are sent.
        base_url: how people reach the platform.
    """

    def __init__(self, repository: Repository, passwords: Passwords, mail: MailOutbox, base_url: str) -> None:
        self._accounts = repository.accounts
        self._attempts = Attempts(repository.links)
        self._passwords = passwords
        self._mail = mail
        self._base_url = base_url

    async def forgot(self, email: str) -> None:
        """Mail a ticket for a new password, if the address has an account.

        Neither the answer nor its time tells whether it has; a mailbox gets four an hour or so.
        """
        begun = time.monotonic()
        await self._mail_reset(email.strip().lower())
        await asyncio.sleep(max(0.0, _ANSWER_SECONDS - (time.monotonic() - begun)))

    async def _mail_reset(self, email: str) -> None:
        try:
            await self._attempts.take(f"reset:{hashlib.sha256(email.encode()).hexdigest()}", PER_MAILBOX)
        except RateLimited:
            return
        user = await self._accounts.user_by_login(email) if EMAIL.fullmatch(email) else None
        if user is None:
            return
        secret = await self._ticket(user, "password", RESET_LIFE)
        text = (
            f"Somebody asked for a new password for {user.name}. Set it here within 30 minutes:\n\n"
            f"{self._base_url}/reset/{secret}\n\nIf it was not you, nothing needs to be done."
        )
        await self._mail.post(user.email, "Set a new password", text, RESET_LIFE)

    async def check_reset(self, secret: str) -> User:
        """Return whose password a ticket sets. Raises Gone."""
        ticket = await self._accounts.ticket(hash_secret(secret), "password")
        user = await self._accounts.user(ticket.user_id) if ticket else None
        if user is None:
            raise Gone(_GONE)
        return user

    async def reset(self, secret: str, password: str, *, drop_tokens: bool = False) -> User:
        """Set a new password by a ticket, which works once; every session ends.

        Args:
            secret: the ticket's.
            password: the new one.
            drop_tokens: whether the account's API tokens are revoked, too.

        Raises Gone, Invalid.
        """
        check_password(password)
        user = await self.check_reset(secret)
        hashed = await self._passwords.hash(password)
        ticket = await self._accounts.ticket(hash_secret(secret), "password")
        if ticket is None or not await self._accounts.use_ticket(ticket):
            raise Gone(_GONE)
        await self._accounts.users.require({"_id": user.id}, {"password_hash": hashed})
        await self._accounts.end_sessions(user.id)
        await self._accounts.tickets.delete({"user_id": user.id})
        await self._accounts.devices.delete({"user_id": user.id})
        if drop_tokens:
            await self._accounts.tokens.delete({"user_id": user.id})
        await audit.record(self._accounts, user.id, "password.reset", user, owner_id=user.id)
        await self._mail.post(user.email, "Your password was changed", _told(user, "password was set anew"))
        return user

    async def change_password(self, member: Member, current: str, new: str) -> None:
        """Change the password; every session but the one that asks ends. Raises Invalid."""
        require(member, Action.CHANGE, None)
        check_password(new)
        await self._check(member, current)
        hashed = await self._passwords.hash(new)
        await self._accounts.users.require({"_id": member.id}, {"password_hash": hashed})
        await self._accounts.end_sessions(member.id, hash_secret(member.session) if member.session else "")
        await self._accounts.tickets.delete({"user_id": member.id})
        await audit.record(self._accounts, member, "password.changed", member.user, owner_id=member.id)
        told = _told(member.user, "password was changed")
        await self._mail.post(member.user.email, "Your password was changed", told)

    async def ask_email(self, member: Member, email: str, password: str) -> None:
        """Mail a ticket to a new address; the account has it as soon as that is opened. Raises Invalid."""
        require(member, Action.CHANGE, None)
        email = email.strip().lower()
        if not EMAIL.fullmatch(email):
            raise _field("email", "is no e-mail address")
        await self._check(member, password, "password")
        await self._attempts.take(f"email:{member.id}", PER_MAILBOX)
        secret = await self._ticket(member.user, "email", CONFIRM_LIFE, email)
        text = (
            f"Confirm that {email} is to be the address of {member.user.name} within a day:\n\n"
            f"{self._base_url}/settings/email/{secret}"
        )
        await self._mail.post(email, "Confirm your address", text, CONFIRM_LIFE)

    async def confirm_email(self, secret: str) -> User:
        """Give an account the address that its ticket was sent to. Raises Gone, Conflict."""
        ticket = await self._accounts.ticket(hash_secret(secret), "email")
        user = await self._accounts.user(ticket.user_id) if ticket else None
        if ticket is None or user is None or not await self._accounts.use_ticket(ticket):
            raise Gone(_GONE)
        if await self._accounts.user_by_login(ticket.email) is not None:
            raise Conflict("another account has this address")
        # The unique index decides between two that confirm the same address at once.
        changed = await self._accounts.users.update({"_id": user.id}, {"email": ticket.email})
        if changed is None:
            raise Conflict("another account has this address")
        await audit.record(self._accounts, user.id, "email.changed", user, owner_id=user.id)
        await self._mail.post(user.email, "Your address was changed", _told(user, "address was changed"))
        return changed

    async def _ticket(self, user: User, purpose: str, life: timedelta, email: str = "") -> str:
        secret = new_secret()
        await self._accounts.tickets.insert(
            AccountTicket(
                id=hash_secret(secret),
                user_id=user.id,
                purpose="email" if purpose == "email" else "password",
                email=email,
                expires_at=utcnow() + life,
            )
        )
        return secret

    async def _check(self, member: Member, password: str, field: str = "current") -> None:
        if not member.user.password_hash:
            raise _field(field, "there is none yet; set one by *Forgotten password?* on the login page")
        await self._attempts.take(f"password:{member.id}", PER_MAILBOX)
        if not await self._passwords.verify(password, member.user.password_hash):
            raise _field(field, "is not your present password")
        await self._attempts.forgive(f"password:{member.id}")


def _told(user: User, what: str) -> str:
    return (
        f"The {what} of the account {user.name}.\n\nIf it was not you, set a new password at once, and tell "
        "whoever operates this instance."
    )


def _field(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", (Problem(field, message),))
