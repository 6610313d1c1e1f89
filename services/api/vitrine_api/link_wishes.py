"""Links' limits as people write them: `20/h`, `100/d`, `10MB`."""

from __future__ import annotations

import re

from vitrine_common.errors import Invalid, Problem
from vitrine_common.spec.quantities import parse_size

HOUR, DAY = 3600, 24 * 3600
MOST_BY_RATE = 1000
_RATE = re.compile(r"(\d{1,6})\s*(?:/|per)\s*(h|d|hour|day)", re.IGNORECASE)


def parse_rate(text: str, field: str = "rate") -> tuple[int, int]:
    """Return how many runs in how many seconds `20/h` or `100/d` allows. Raises Invalid naming `field`."""
    match = _RATE.fullmatch(text.strip())
    runs = int(match[1]) if match else 0
    if match is None or not 1 <= runs <= MOST_BY_RATE:
        message = f"`{text[:40]}` is no rate; write for example `20/h` or `100/d`, at most {MOST_BY_RATE}"
        raise Invalid(f"{field}: {message}", (Problem(field, message),))
    return runs, HOUR if match[2].lower().startswith("h") else DAY


def rate_words(runs: int, seconds: int) -> str:
    """Return a rate as `parse_rate` reads it."""
    return f"{runs}/{'h' if seconds == HOUR else 'd'}"


def parse_bytes(text: str, field: str = "max_input") -> int:
    """Return the bytes of `10MB` or `512Ki`. Raises Invalid naming `field`."""
    try:
        return parse_size(text)
    except ValueError:
        message = f"`{text[:40]}` is no size; write for example `10MB` or `512Ki`"
        raise Invalid(f"{field}: {message}", (Problem(field, message),)) from None
