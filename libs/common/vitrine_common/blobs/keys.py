"""Where blobs and staged uploads lie in the bucket. No other module makes keys."""

from __future__ import annotations

import re

from vitrine_common.digests import DIGEST_PATTERN
from vitrine_common.errors import Invalid

STAGING = "staging/"
MAX_PARTS = 10_000

_DIGEST = re.compile(DIGEST_PATTERN)
_UPLOAD_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def content_key(digest: str) -> str:
    """Return the key of a blob: `sha256/<first two digits>/<the other 62>`. Raises Invalid."""
    if _DIGEST.fullmatch(digest) is None:
        raise Invalid(f"{digest[:100]!r} is no digest: write sha256: and 64 lower-case hexadecimal digits")
    digits = digest.removeprefix("sha256:")
    return f"sha256/{digits[:2]}/{digits[2:]}"


def staging_prefix(upload_id: str) -> str:
    """Return the prefix below which an upload's parts lie. Raises Invalid."""
    if _UPLOAD_ID.fullmatch(upload_id) is None:
        raise Invalid(f"{upload_id[:100]!r} is no upload id: letters, digits, - and _ only, at most 64")
    return f"{STAGING}{upload_id}/"


def staging_key(upload_id: str, part: int) -> str:
    """Return the key of an upload's part, counted from 1; keys sort as parts do. Raises Invalid."""
    if not 1 <= part <= MAX_PARTS:
        raise Invalid(f"part {part} does not exist: parts are numbered from 1 to {MAX_PARTS}")
    return f"{staging_prefix(upload_id)}{part:05d}"


def upload_id_of(key: str) -> str:
    """Return the id of the upload that a staged part's key belongs to."""
    return key.removeprefix(STAGING).split("/", 1)[0]
