"""Times to live as people write them: `14d`, `12h`, `30m`."""

from __future__ import annotations

import re
from datetime import timedelta

from vitrine_common.errors import Invalid, Problem

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_PATTERN = re.compile(r"([0-9]{1,6})\s*([smhdw])")
LONGEST = timedelta(days=3660)


def parse_lifetime(text: str, field: str = "expires") -> timedelta:
    """Return the time that `text` stands for. Raises Invalid naming `field`."""
    match = _PATTERN.fullmatch(text.strip().lower())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        message = f"`{text[:40]}` is no time to live; write for example `14d`, `12h` or `30m`"
        raise Invalid(f"{field}: {message}", (Problem(field, message),))
    return timedelta(seconds=seconds)
