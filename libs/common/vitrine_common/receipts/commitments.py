"""Commitments: digests that a blind link may show.

A digest in the open would tie a blind link to everything else that has the same bytes. A commitment is the
digest under a secret key of the link: equal under one link, unrelated under two. Whoever gets the key later
(an *opening*) can check that a commitment stands for a digest. The SHA-256 of the key stands in each receipt,
so that no other key can be shown afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal, get_args

from vitrine_common.digests import sha256_bytes

Domain = Literal["bundle", "environment", "image", "spec", "harness", "dataset", "input", "output", "claim"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
PREFIX = "hmac-sha256:"
ALGORITHM = "vitrineCommitment"
"""What an in-toto digest set calls it."""

_CONTEXT = b"vitrine commitment v1\0"
_KEY_CONTEXT = b"vitrine commitment key v1\0"
_DERIVATION = b"vitrine commitments of a link v1"


def key_of(secret: str) -> bytes:
    """Return the key of the link with this secret (`ShareLink.key`).

    The key may be shown one day; the secret, from which other things of the link follow, does not follow
    from it.
    """
    return hmac.new(secret.encode(), _DERIVATION, hashlib.sha256).digest()


def commit(key: bytes, domain: str, digest: str) -> str:
    """Return the commitment to `digest` as a `domain`: `hmac-sha256:<hex>` (RFC 2104).

    The domain's name is part of what is authenticated, so the same bytes as an input and as an output cannot
    be recognised either. Raises ValueError for an unknown domain.
    """
    if domain not in DOMAINS:
        raise ValueError(f"{domain!r} is no domain of commitments: {', '.join(DOMAINS)}")
    message = _CONTEXT + domain.encode() + b"\0" + digest.encode()
    return PREFIX + hmac.new(key, message, hashlib.sha256).hexdigest()


def key_digest(key: bytes) -> str:
    """Return what a receipt says of the key before anybody may know it."""
    return sha256_bytes(_KEY_CONTEXT + key)


def opens(key: bytes, domain: str, commitment: str, digest: str) -> bool:
    """Tell whether `commitment` stands for `digest`."""
    return hmac.compare_digest(commit(key, domain, digest), commitment)
