"""How a message to a webhook is signed: the Standard Webhooks specification, symmetric signatures (`v1`)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime

_PREFIX = "whsec_"


def new_secret() -> str:
    """Return a secret of 256 random bits."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """Return `v1,<base64>`: HMAC-SHA-256 over `<id>.<seconds since the epoch>.<body>`."""
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(known: Sequence[str], message_id: str, body: str, now: datetime) -> dict[str, str]:
    """Return the headers of a message; it is signed by every secret that is still good."""
    timestamp = int(now.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": "Vitrine-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in known),
    }
