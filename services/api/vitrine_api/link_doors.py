"""The doors of restricted links: a passcode, or a one-time code for an address on the list.

Whoever gets through has a pass: a random secret of which the hash is kept, good for one link. Answers are
counted by `link_attempts` per link and per address before they are looked at; requests for codes and
attempts altogether are limited per address and in total by rates.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from vitrine_api import audit
from vitrine_api.credentials import hash_secret, new_secret
from vitrine_api.link_attempts import PER_ADDRESS, PER_LINK, PER_MAILBOX, Attempts
from vitrine_api.link_states import LinkLocked, ways_of
from vitrine_api.mail_outbox import MailOutbox
from vitrine_api.passwords import Passwords
from vitrine_api.policy import Visitor
from vitrine_api.rates import RateLimit
from vitrine_api.repository import Repository
from vitrine_common.clock import utcnow
from vitrine_common.documents import LinkCode, LinkPass, ShareLink
from vitrine_common.errors import Conflict, Denied, Problem

PASS_LIFE = timedelta(hours=12)
CODE_LIFE = timedelta(minutes=10)
CODE_DIGITS = 8
CODE_ATTEMPTS = 5
_RESEND = timedelta(seconds=45)
_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True)
class Opened:
    """A pass: `secret` is told this once."""

    secret: str
    expires_at: datetime


class WrongAnswer(Denied):
    """A passcode or code that does not open the link."""

    title = "That does not open this link"


class Doors:
    """Lets holders of restricted links through.

    Args:
        repository: passes, codes and counts.
        passwords: how passcodes are hashed.
        mail: how codes are sent.
        rate: attempts and wishes for codes, by address and in total.
    """

    def __init__(
        self, repository: Repository, passwords: Passwords, mail: MailOutbox, rate: RateLimit
    ) -> None:
        self._links = repository.links
        self._accounts = repository.accounts
        self._attempts = Attempts(repository.links)
        self._passwords = passwords
        self._mail = mail
        self._rate = rate
        self._posting: set[asyncio.Task[None]] = set()

    async def check(self, link: ShareLink, secret: str | None) -> None:
        """Raise LinkLocked unless the link has no door or `secret` is a pass for it that still counts."""
        if link.access != "restricted":
            return
        found = await self._links.passes.find_one({"_id": hash_secret(secret)}) if secret else None
        if found is None or found.link_id != link.id or found.expires_at <= utcnow():
            raise LinkLocked(ways_of(link))

    async def open_by_passcode(self, link: ShareLink, passcode: str, address: str) -> Opened:
        """Return a pass. Raises WrongAnswer, RateLimited."""
        await self._count(link, address)
        right = await self._passwords.verify(passcode.strip(), link.passcode_hash)
        if not right:
            raise _wrong("passcode", "this is not the passcode; capitals count")
        return await self._pass(link, address)

    async def send_code(self, link: ShareLink, email: str, address: str) -> None:
        """Send a code to an address on the list. Whether it is on it cannot be told from outside."""
        self._rate.take(f"address:{address}", f"link:{link.id}")
        email = email.strip().lower()
        await self._attempts.take(f"mail:{_code_id(link, email)}", PER_MAILBOX)
        code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
        # For an address that is not on the list, too: what follows then takes as long.
        if await self._new_code(link, email, code) and email in link.emails:
            # Not waited for, so that the answer takes as long whether a mail is written or not.
            task = asyncio.create_task(self._post(email, code))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def open_by_code(self, link: ShareLink, email: str, code: str, address: str) -> Opened:
        """Return a pass. Raises WrongAnswer, RateLimited."""
        await self._count(link, address)
        email = email.strip().lower()
        key = _code_id(link, email)
        stored = await self._links.take_code_attempt(key)
        given = "".join(character for character in code if character.isdigit())
        hashed = _code_hash(stored.salt if stored else "", given)
        equal = hmac.compare_digest(hashed.encode(), (stored.code_hash if stored else "").encode())
        in_time = stored is not None and stored.expires_at > utcnow()
        # Deleting decides: of two right answers at once one is taken.
        if not (equal and in_time and email in link.emails and await self._links.codes.delete({"_id": key})):
            raise _wrong(
                "code", "this code is wrong, was used, or is older than ten minutes; ask for another"
            )
        await self._attempts.forgive(f"mail:{key}")
        return await self._pass(link, address)

    async def _count(self, link: ShareLink, address: str) -> None:
        self._rate.take(f"address:{address}", f"link:{link.id}")
        await self._attempts.take(_address_key(link, address), PER_ADDRESS)
        await self._attempts.take(f"link:{link.id}", PER_LINK)

    async def _pass(self, link: ShareLink, address: str) -> Opened:
        await self._attempts.forgive(_address_key(link, address))
        await self._attempts.forgive(f"link:{link.id}")
        secret = new_secret(128)
        ends = utcnow() + PASS_LIFE
        ends = min(ends, link.expires_at) if link.expires_at else ends
        await self._links.passes.insert(LinkPass(id=hash_secret(secret), link_id=link.id, expires_at=ends))
        await audit.record(self._accounts, Visitor(link, ""), "link.unlocked", link)
        return Opened(secret, ends)

    async def _new_code(self, link: ShareLink, email: str, code: str) -> bool:
        """Keep a code; False when one was sent a moment ago, which stays."""
        key, now = _code_id(link, email), utcnow()
        known = await self._links.codes.find_one({"_id": key})
        if known is not None and known.sent_at > now - _RESEND:
            return False
        if known is not None:
            await self._links.codes.delete({"_id": key})
        salt = secrets.token_hex(16)
        stored = LinkCode(
            id=key,
            code_hash=_code_hash(salt, code),
            salt=salt,
            attempts_left=CODE_ATTEMPTS,
            sent_at=now,
            expires_at=now + CODE_LIFE,
        )
        try:
            await self._links.codes.insert(stored)
        except Conflict:
            return False
        return True

    async def _post(self, email: str, code: str) -> None:
        text = (
            f"Your code is {code[:4]} {code[4:]}\n\n"
            "Enter it on the page that asked for it. It is good for ten minutes and for one use.\n"
            "If you did not ask for it, somebody mistyped an address: nothing more will come.\n"
        )
        await self._mail.post(email, "Your code for a link", text, CODE_LIFE)


def new_passcode() -> str:
    """Return a passcode that can be read aloud: twelve characters of thirty, 58 bits."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    return f"{letters[:4]}-{letters[4:8]}-{letters[8:]}"


def _address_key(link: ShareLink, address: str) -> str:
    """Return a key by link and address from which, without the link's own key, neither can be read."""
    return "address:" + hmac.new(bytes.fromhex(link.key), address.encode(), hashlib.sha256).hexdigest()[:32]


def _code_id(link: ShareLink, email: str) -> str:
    return hmac.new(bytes.fromhex(link.key), f"code:{email}".encode(), hashlib.sha256).hexdigest()[:48]


def _code_hash(salt: str, code: str) -> str:
    return hashlib.scrypt(code.encode(), salt=salt.encode(), n=1 << 10, r=8, p=1, dklen=32).hex()


def _wrong(field: str, message: str) -> WrongAnswer:
    return WrongAnswer(message, (Problem(field, message),))
