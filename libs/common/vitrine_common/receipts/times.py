"""Times in receipts: RFC 3339, UTC, to the millisecond, written in one way."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from vitrine_common.receipts.errors import Malformed

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)


def as_text(time: datetime) -> str:
    """Return a time as receipts write it: `2026-11-21T11:48:00.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(value: object, what: str) -> datetime:
    """Return the time that is written so. Raises Malformed."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise Malformed(f"{what} is no time such as 2026-11-21T11:48:00.000Z")
