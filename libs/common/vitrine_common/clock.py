"""The one clock: timezone-aware UTC, cut to the millisecond that the database keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def utcnow() -> datetime:
    """Return the present time in UTC, to the millisecond, so that a stored value reads back equal."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def after(seconds: float) -> datetime:
    """Return the time that is `seconds` from now."""
    return utcnow() + timedelta(seconds=seconds)


def milliseconds_between(start: datetime, end: datetime) -> float:
    """Return `end - start` in milliseconds."""
    return (end - start).total_seconds() * 1000
