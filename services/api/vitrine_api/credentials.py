"""Random secrets, the hashes that are kept of them, and the tokens against forged forms.

All secrets have at least 128 random bits, so a plain SHA-256 cannot be searched (unlike passwords).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

TOKEN_PREFIX = "vt_"  # noqa: S105 - tells what kind of secret it is, is none itself


def new_secret(bits: int = 256) -> str:
    """Return random text that may stand in a URL or a cookie."""
    return secrets.token_urlsafe(bits // 8)


def new_api_token() -> str:
    """Return an API token; its prefix lets scanners for leaked secrets find it."""
    return TOKEN_PREFIX + new_secret()


def hash_secret(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def visitor_id(link_id: str, secret: str) -> str:
    """Return the id that is stored with a visitor's runs; it differs from link to link."""
    return hashlib.sha256(f"visitor:{link_id}:{secret}".encode()).hexdigest()[:32]


def form_token(cookie: str) -> str:
    """Return the token that a form must carry beside the HttpOnly cookie `cookie` (bound double submit)."""
    return hashlib.sha256(f"form:{cookie}".encode()).hexdigest()


def is_form_token(given: str | None, cookie: str | None) -> bool:
    """Say whether `given` belongs to `cookie`; in constant time."""
    return bool(given and cookie) and hmac.compare_digest(
        (given or "").encode(), form_token(cookie or "").encode()
    )
