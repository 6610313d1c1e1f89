"""SHA-256 digests and the canonical JSON that they are taken over."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import StringConstraints

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
CHUNK = 1 << 20

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
"""A digest as it is written everywhere: `sha256:` and 64 lower-case hexadecimal digits."""


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the digest of a file's content, reading it piece by piece. Raises OSError."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the one byte string that stands for a JSON value: sorted keys, no spaces, UTF-8.

    Equal values give equal bytes on every machine (floats as Python's shortest form). Raises ValueError
    for NaN and infinities and TypeError for what JSON cannot hold.
    """
    return _CANONICAL.encode(value).encode()


def digest_of_json(value: Any) -> str:
    """Return the digest of a value's canonical JSON."""
    return sha256_bytes(canonical_json(value))
