"""The instance's signing key: its file, its public half, and whether it may be used now.

The private half is in a file of mode 0600 and nowhere else. Processes on one host share the file; several
hosts are given the same file (a mounted secret), or have one each: every public half is registered and
published, and a receipt names the key that signed it. A running process notices that the file was replaced.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from vitrine_api.receipts.repository import ReceiptRepository
from vitrine_common.clock import utcnow
from vitrine_common.documents import SigningKey
from vitrine_common.errors import Unavailable
from vitrine_common.receipts.errors import BadKey
from vitrine_common.receipts.keys import KeySet, PublicKey
from vitrine_common.receipts.signatures import PrivateKey

log = logging.getLogger(__name__)

_FRESH_SECONDS = 5.0
_MAX_FILE_BYTES = 16 << 10
_Identity = tuple[int, int, int]


class NoSigningKey(Unavailable):
    """This instance can issue no receipts now."""

    title = "No receipts are issued"


class Signer:
    """Lends the key to whoever issues a receipt.

    Args:
        path: the private key's file, made when missing; None: no receipts are issued.
        repository: where public keys are registered.
        instance: the instance's public address, which published keys are said to be of.
    """

    def __init__(self, path: Path | None, repository: ReceiptRepository, instance: str) -> None:
        self._path = path
        self._repository = repository
        self._instance = instance
        self._key: PrivateKey | None = None
        self._identity: _Identity | None = None
        self._published: KeySet | None = None
        self._published_at = 0.0

    @property
    def enabled(self) -> bool:
        """Whether this instance is meant to issue receipts."""
        return self._path is not None

    async def open(self) -> None:
        """Make or read the key at start. What is wrong is said loudly, and again by every attempt to sign."""
        if self._path is None:
            log.warning("no receipts are issued: VITRINE_API_SIGNING_KEY_FILE is not set")
            return
        try:
            key = await self.current()
        except NoSigningKey as error:
            log.error("no receipts are issued: %s", error.message)  # noqa: TRY400 - the message says it all
        else:
            log.info("receipts are signed with %s", key.id)

    async def current(self) -> PrivateKey:
        """Return the key to sign with now. Raises NoSigningKey."""
        key = self._loaded()
        if key is not self._key:
            await self._repository.add_key(key.id, key.public_raw)
            self._key, self._published = key, None
        public = (await self.published()).keys.get(key.id)
        if public is None or public.revoked_at or (public.not_after and public.not_after <= utcnow()):
            raise NoSigningKey(
                f"the key in {self._path} was retired or revoked; run `python -m vitrine_api.keys rotate`"
            )
        return key

    async def published(self) -> KeySet:
        """Return every public key of the instance, as it was a few seconds ago at most."""
        now = time.monotonic()
        if self._published is None or now - self._published_at > _FRESH_SECONDS:
            self._published = KeySet.of(self._instance, map(public_key, await self._repository.keys()))
            self._published_at = now
        return self._published

    def _loaded(self) -> PrivateKey:
        if self._path is None:
            raise NoSigningKey("this instance has no signing key, so it issues no receipts; ask its operator")
        try:
            identity = _identity_of(self._path) or make_key_file(self._path)
            if self._key is not None and identity == self._identity:
                return self._key
            key, self._identity = read_key_file(self._path), identity
        except (OSError, BadKey) as error:
            raise NoSigningKey(f"the signing key {self._path} cannot be used: {error}") from error
        return key


def public_key(document: SigningKey) -> PublicKey:
    """Return a key as it is published."""
    return PublicKey(
        raw=bytes.fromhex(document.public_key),
        not_before=document.not_before,
        not_after=document.not_after,
        revoked_at=document.revoked_at,
        reason=document.reason,
    )


def read_key_file(path: Path) -> PrivateKey:
    """Return the key in a file. Raises OSError, BadKey."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        text = file.read(_MAX_FILE_BYTES)
    if stat.S_IMODE(mode) & 0o077:
        log.warning("%s can be read by others than its owner; set its mode to 0600", path)
    return PrivateKey.from_pem(text)


def make_key_file(path: Path) -> _Identity:
    """Make a key where there is none; of several processes that try at once, one does. Raises OSError."""
    temporary = _written_aside(path, PrivateKey.generate())
    try:
        os.link(temporary, path)  # unlike a rename, it never replaces
    except FileExistsError:
        log.info("another process made the signing key")
    finally:
        temporary.unlink()
    identity = _identity_of(path)
    if identity is None:
        raise FileNotFoundError(f"{path} was removed")
    return identity


def replace_key_file(path: Path, key: PrivateKey) -> None:
    """Put `key` in the place of the one in the file, which is then gone. Raises OSError."""
    _written_aside(path, key).replace(path)


def _written_aside(path: Path, key: PrivateKey) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.to_pem())
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _identity_of(path: Path) -> _Identity | None:
    """Return what tells one content of the file from another; None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def in_use(keys: Iterable[SigningKey]) -> list[SigningKey]:
    """Return the keys that may sign now."""
    now = utcnow()
    return [key for key in keys if key.revoked_at is None and (key.not_after is None or key.not_after > now)]
