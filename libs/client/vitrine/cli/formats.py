"""How amounts, times and ids are written for people."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

SHORT = 8
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def size(count: int | None) -> str:
    """Write bytes: `812 B`, `1.2 MB`."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def milliseconds(value: float | None) -> str:
    """Write a duration given in milliseconds: `85 ms`, `1.3 s`, `4 min 05 s`."""
    if value is None:
        return "-"
    if value < 1000:
        return f"{value:.0f} ms"
    return seconds(value / 1000)


def seconds(value: float) -> str:
    """Write a duration given in seconds."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago something was, or how far off it is: `3 min ago`, `in 14 days`."""
    if moment is None:
        return "-"
    span = (now or datetime.now(UTC)) - moment
    words = _span(abs(span))
    if words == "now":
        return words
    return f"in {words}" if span < timedelta(0) else f"{words} ago"


def _span(span: timedelta) -> str:
    whole = span.total_seconds()
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        count = round(whole / length)
        if whole >= length * 0.95 and count:
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{whole:.0f} s" if whole >= 2 else "now"


def short_id(identifier: str) -> str:
    """Return the end of an id, which tells it from others; commands take it as well."""
    return identifier[-SHORT:]


def short_digest(digest: str | None) -> str:
    """Return the beginning of a digest."""
    return digest.removeprefix("sha256:")[:12] if digest else "-"


def number(value: object) -> str:
    """Write a metric: at most four digits after the point, none that say nothing."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def harmless(text: str) -> str:
    """Return text of a model or log without what would steer the terminal."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
