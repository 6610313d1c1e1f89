"""Public keys of an instance, as they are published: a JSON Web Key Set (RFC 7517, RFC 8037) with dates."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.receipts.canonical import parse_json
from vitrine_common.receipts.errors import Malformed
from vitrine_common.receipts.times import as_text, read_time

WELL_KNOWN = "/.well-known/vitrine-keys.json"
MAX_KEYS_BYTES = 1 << 20
MAX_KEYS = 1000
_RAW_BYTES = 32
_KIND = {"kty": "OKP", "crv": "Ed25519"}


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 key and when it was good for signing.

    A receipt counts when it was issued from `not_before` to `not_after`. What a revoked key signed counts
    no more, whenever it says that it was issued: whoever has a leaked key writes any date.
    """

    raw: bytes
    not_before: datetime
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    reason: str = ""

    @property
    def id(self) -> str:
        """The key's id: the SHA-256 of its required members (RFC 7638), as digests are written here."""
        return key_id(self.raw)

    def to_jwk(self) -> dict[str, Any]:
        """Return the key as a JSON Web Key; the dates are members of our own."""
        dates = {
            "not_before": as_text(self.not_before),
            "not_after": as_text(self.not_after) if self.not_after else None,
            "revoked_at": as_text(self.revoked_at) if self.revoked_at else None,
            "revocation_reason": self.reason or None,
        }
        fixed = {**_required(self.raw), "alg": "EdDSA", "use": "sig", "kid": self.id}
        return fixed | {name: value for name, value in dates.items() if value is not None}


@dataclass(frozen=True)
class KeySet:
    """The keys that one instance says are or were its own."""

    instance: str
    keys: Mapping[str, PublicKey]

    @classmethod
    def of(cls, instance: str, keys: Iterable[PublicKey]) -> KeySet:
        """Return the set of `keys`."""
        return cls(instance, {key.id: key for key in keys})

    def document(self) -> dict[str, Any]:
        """Return what is published at `WELL_KNOWN`."""
        ordered = sorted(self.keys.values(), key=lambda key: (key.not_before, key.id))
        return {"instance": self.instance, "keys": [key.to_jwk() for key in ordered]}


def key_id(raw: bytes) -> str:
    """Return the id of the Ed25519 key with these 32 bytes."""
    return sha256_bytes(canonical_json(_required(raw)))


def read_keys(data: bytes) -> KeySet:
    """Return the keys of a published document; keys of other kinds are passed over.

    Raises:
        Malformed: it is no such document, or a key's id is not its own.
    """
    value = parse_json(data, "the key file", limit=MAX_KEYS_BYTES)
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise Malformed(f"a key file has a list `keys`; take it from {WELL_KNOWN} of the instance")
    found: dict[str, PublicKey] = {}
    for item in listed:
        if not isinstance(item, dict) or any(item.get(name) != wanted for name, wanted in _KIND.items()):
            continue
        key = _read_key(item)
        if key.id in found:
            raise Malformed(f"the key {key.id} stands twice in the key file")
        found[key.id] = key
    return KeySet(str(value.get("instance") or ""), found)


def _required(raw: bytes) -> dict[str, str]:
    return {**_KIND, "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}


def _read_key(item: Mapping[str, Any]) -> PublicKey:
    given = item.get("x")
    try:
        raw = base64.b64decode(given + "=", altchars=b"-_", validate=True) if isinstance(given, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _RAW_BYTES or _required(raw)["x"] != given:
        raise Malformed("a key of the key file is no Ed25519 key: `x` must be 32 bytes in base 64 for URLs")
    if item.get("kid") != key_id(raw):
        raise Malformed(f"the key file calls a key {str(item.get('kid'))[:80]!r}, its id is {key_id(raw)}")
    started = _time(item, "not_before")
    if started is None:
        raise Malformed(f"the key {key_id(raw)} has no `not_before`")
    revoked_at = _time(item, "revoked_at")
    return PublicKey(
        raw, started, _time(item, "not_after"), revoked_at, str(item.get("revocation_reason") or "")[:500]
    )


def _time(item: Mapping[str, Any], name: str) -> datetime | None:
    value = item.get(name)
    return None if value is None else read_time(value, f"`{name}` of a key")
