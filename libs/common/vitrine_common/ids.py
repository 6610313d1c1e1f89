"""Identifiers: sortable, unguessable enough to be public, and readable by their prefix."""

from __future__ import annotations

import os
import time
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, remainder = divmod(value, 32)
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))


def new_id(prefix: str) -> str:
    """Return `<prefix>_<ULID>`: 48 bits of milliseconds, then 80 random bits (ulid/spec), lower case.

    Ids of one prefix sort by their time of creation (to the millisecond) and never contain a dot,
    so they may stand in a subject or a document path.
    """
    milliseconds = time.time_ns() // 1_000_000
    return f"{prefix}_{_encode(milliseconds, 10)}{_encode(int.from_bytes(os.urandom(10)), 16)}"


def first_id(prefix: str, at: datetime) -> str:
    """Return what sorts before every id of `prefix` that is made at or after that time."""
    return f"{prefix}_{_encode(max(0, round(at.timestamp() * 1000)), 10)}"


def sibling_id(prefix: str, other: str) -> str:
    """Return the id that follows from `other` for a thing of another kind: the same whenever it is asked."""
    return f"{prefix}_{other.partition('_')[2]}"
