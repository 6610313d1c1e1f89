"""Addresses of single runs that a visitor may hand on to others who hold the same link.

The key in such an address follows from the link's own secret and the run, so nothing has to be kept, and
no other run can be opened by it. Whoever has it sees that run; only whoever began it may change it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from vitrine_common.documents import ShareLink

COOKIE = "vitrine_run"
SECONDS = 24 * 3600
_DOMAIN = b"vitrine run permalink\n"


def key_of(link: ShareLink, run_id: str) -> str:
    """Return the key that opens a run: 128 bits."""
    digest = hmac.digest(bytes.fromhex(link.key), _DOMAIN + run_id.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def opens(link: ShareLink, run_id: str, key: str) -> bool:
    """Say whether `key` opens a run of the link."""
    return hmac.compare_digest(key_of(link, run_id).encode(), key.encode())
