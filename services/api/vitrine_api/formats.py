"""Numbers, sizes, durations and times as people read them. Used as template filters."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

MISSING = "\u2013"
"""Stands where there is no value."""

_SIZES = ("kB", "MB", "GB", "TB")
_STATES = {
    "queued": "Queued",
    "starting": "Starting",
    "preparing": "Preparing",
    "running": "Running",
    "saving": "Saving",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "expired": "Expired",
    "stopped_early": "Stopped early",
    "draft": "Draft",
    "building": "Building",
    "ready": "Ready",
    "build_failed": "Build failed",
    "used_up": "Used up",
    "reproduced": "Reproduced",
    "differs": "Differs",
}
_TONES = {
    **dict.fromkeys(("succeeded", "reproduced", "ready", "active", "approved", "production"), "good"),
    **dict.fromkeys(("queued", "starting", "preparing", "running", "saving", "building"), "busy"),
    **dict.fromkeys(("cancelled", "expired", "used_up", "stopped_early", "differs"), "warn"),
    **dict.fromkeys(("failed", "build_failed", "revoked", "rejected"), "bad"),
}


def size(count: float | None) -> str:
    """Write bytes: `512 B`, `1.4 kB`, `20 MB` (powers of 1000)."""
    if count is None:
        return MISSING
    if count < 1000:
        return f"{count:.0f} B"
    value = float(count)
    for unit in _SIZES:
        value /= 1000
        if value < 999.5 or unit == _SIZES[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def duration(milliseconds: float | None) -> str:
    """Write milliseconds: `< 0.1 ms`, `0.8 ms`, `42 ms`, `1.3 s`, `2 min 5 s`, `3 h 20 min`."""
    if milliseconds is None or not math.isfinite(milliseconds):
        return MISSING
    if milliseconds < 0.05:
        return "< 0.1 ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.1f} ms" if milliseconds < 9.95 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return _pair(round(seconds))


def _pair(seconds: int) -> str:
    """Return the two largest units."""
    for (unit, length), (smaller, part) in (
        (("d", 86400), ("h", 3600)),
        (("h", 3600), ("min", 60)),
        (("min", 60), ("s", 1)),
    ):
        if seconds >= length:
            rest = seconds % length // part
            return f"{seconds // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def number(value: float | None) -> str:
    """Write a number with at most six significant digits and thin groups: `12 345`, `0.000123`, `1.5e-9`."""
    if value is None:
        return MISSING
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.6g}"


def percent(value: float | None) -> str:
    """Write a share from 0 to 1: `97.3 %`, `0.02 %`, `100 %`."""
    if value is None or not math.isfinite(value):
        return MISSING
    share = value * 100
    if share and abs(share) < 0.095:
        return "< 0.01 %" if 0 < share < 0.01 else f"{share:.2f} %"
    text = f"{share:.1f}"
    return text.removesuffix(".0") + " %" if text in {"0.0", "100.0"} else text + " %"


def relative(value: datetime | None, now: datetime) -> str:
    """Write a time seen from `now`: `just now`, `5 min ago`, `in 3 days`; beyond 30 days the date."""
    if value is None:
        return "never"
    gap = now - value
    length = abs(gap)
    if length < timedelta(seconds=45):
        return "just now" if gap >= timedelta(0) else "in a moment"
    if length > timedelta(days=30):
        return day(value)
    words = _span(length)
    return f"{words} ago" if gap > timedelta(0) else f"in {words}"


def _span(length: timedelta) -> str:
    seconds = length.total_seconds()
    for unit, part in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= part * 0.95:
            count = max(1, round(seconds / part))
            return f"{count} {unit}" + ("s" if unit == "day" and count > 1 else "")
    return "1 min"


def day(value: datetime | None) -> str:
    """Write a date: `3 March 2026`."""
    return f"{value.day} {value:%B %Y}" if value else MISSING


def moment(value: datetime | None) -> str:
    """Write a date and a time: `3 March 2026, 14:05 UTC`."""
    return f"{day(value)}, {value:%H:%M} {value.tzname() or ''}".rstrip() if value else MISSING


def digest(value: str | None) -> str:
    """Return the first twelve digits of a digest or commitment, without its algorithm."""
    return (value or "").rpartition(":")[2][:12]


def state(value: str) -> str:
    """Name a state in words."""
    return _STATES.get(value, value.replace("_", " ").capitalize())


def tone(value: str) -> str:
    """Name the colour of a state: plain, good, busy, warn or bad."""
    return _TONES.get(value, "plain")


def shorten(text: str, length: int = 60) -> str:
    """Return `text` in one line, of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
