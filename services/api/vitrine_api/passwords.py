"""Passwords by Argon2id (RFC 9106), computed in a thread, as many at a time as there is memory for."""

from __future__ import annotations

import asyncio

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from vitrine_common.errors import Invalid, Problem

MIN_LENGTH = 10
MAX_LENGTH = 256
MIN_PASSCODE = 6
"""Shorter than a password: it opens one link, and guesses at it are counted and locked out."""
_AT_ONCE = 2
"""Each takes 64 MiB and a core for some tens of milliseconds."""


class Passwords:
    """Makes and checks hashes. Checking against nothing takes as long as against a hash."""

    def __init__(self) -> None:
        self._hasher = PasswordHash((Argon2Hasher(),))
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Return the hash. Raises Invalid for what is too short or too long."""
        check_password(password)
        return await self._off_loop(password)

    async def hash_passcode(self, passcode: str) -> str:
        """Return the hash of a link's passcode. Raises Invalid for what is too short or too long."""
        if not MIN_PASSCODE <= len(passcode) <= MAX_LENGTH:
            message = f"has {len(passcode)} characters; take {MIN_PASSCODE} to {MAX_LENGTH}"
            raise Invalid(f"passcode: {message}", (Problem("passcode", message),))
        return await self._off_loop(passcode)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Say whether `password` has the hash; nothing has none: no account, or one without a password."""
        password = password[:MAX_LENGTH]
        if self._decoy is None:
            self._decoy = await self._off_loop("the password of nobody")
        async with self._slots:
            right = await asyncio.to_thread(self._hasher.verify, password, hashed or self._decoy)
        return right and bool(hashed)

    async def _off_loop(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)


def check_password(password: str) -> None:
    """Raise Invalid for a password that is too short or too long."""
    if len(password) < MIN_LENGTH:
        message = f"has {len(password)} characters; take at least {MIN_LENGTH}"
    elif len(password) > MAX_LENGTH:
        message = f"has more than {MAX_LENGTH} characters"
    else:
        return
    raise Invalid(f"password: {message}", (Problem("password", message),))
