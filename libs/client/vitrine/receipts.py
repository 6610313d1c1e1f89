"""Receipts and the keys that they are checked with.

Keys are fetched once from a platform and *pinned*: kept in a file, one for each platform. What is fetched
later may add keys, and end or revoke them; it cannot make a key good for longer, or take one out. Whoever
wants no network at all gives the keys as a file.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from vitrine.config import config_dir, write_private
from vitrine.errors import ClientError
from vitrine.references import LinkAddress, Reference
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.keys import WELL_KNOWN, KeySet, PublicKey, read_keys

if TYPE_CHECKING:
    from vitrine.transport import Transport


class Receipts:
    """Fetches receipts, keys, openings and exports of one platform."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def receipt(self, run_id: str) -> bytes:
        """Return the receipt of one's run, byte for byte. Raises Refused."""
        return self._bytes(f"/runs/{quote(run_id, safe='')}/receipt")

    def opening(self, link_id: str) -> Any:
        """Return what opens the receipts of one's blind link. Raises Refused."""
        return self._transport.call("GET", f"/links/{quote(link_id, safe='')}/opening")

    def keys(self) -> KeySet:
        """Return the keys that the platform publishes now. Raises Refused, Unreachable."""
        try:
            return read_keys(self._bytes(self._transport.url + WELL_KNOWN))
        except Malformed as error:
            raise ClientError(f"{self._transport.url} publishes no keys: {error.message}") from error

    def export(self, target: Reference | LinkAddress, path: Path, *, with_files: bool) -> int:
        """Save a version's archive; return its size. Raises Refused, Unreachable, ClientError."""
        if isinstance(target, LinkAddress):
            address = f"/links/{target.token}/export"
        else:
            address = f"/versions/{target.path}/export?" + urlencode({"files": str(with_files).lower()})
        return self._transport.save(address, path)

    def _bytes(self, path: str) -> bytes:
        with self._transport.download(path) as answer:
            return answer.read()


class Pins:
    """The keys of platforms, as this machine first saw them.

    Args:
        folder: where they are kept; a folder of the command line's own without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or config_dir() / "keys"

    def of(self, url: str) -> KeySet | None:
        """Return the pinned keys of a platform, None when there are none. Raises ClientError."""
        path = self._path(url)
        try:
            return read_keys(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Malformed) as error:
            raise ClientError(
                f"{path} cannot be read: {error}", advice="Remove it to fetch the keys again."
            ) from error

    def pin(self, url: str, fetched: KeySet) -> KeySet:
        """Keep what was fetched, over what was pinned; return both together."""
        merged = merge(self.of(url), fetched)
        write_private(self._path(url), merged.document())
        return merged

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def merge(pinned: KeySet | None, fetched: KeySet) -> KeySet:
    """Return pinned and fetched keys together; for a key in both, the narrower dates count."""
    if pinned is None:
        return fetched
    keys = dict(fetched.keys)
    for key_id, known in pinned.keys.items():
        keys[key_id] = _narrower(known, keys[key_id]) if key_id in keys else known
    return KeySet(fetched.instance or pinned.instance, keys)


def _narrower(known: PublicKey, told: PublicKey) -> PublicKey:
    return PublicKey(
        raw=known.raw,
        not_before=max(known.not_before, told.not_before),
        not_after=_earlier(known.not_after, told.not_after),
        revoked_at=_earlier(known.revoked_at, told.revoked_at),
        reason=known.reason or told.reason,
    )


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(one, other) if one and other else one or other


def read_bytes(path: Path) -> bytes:
    """Return a small file's bytes. Raises ClientError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"{path} cannot be read: {error.strerror or error}") from error


def as_file(value: Any) -> bytes:
    """Return a document as it is saved."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
