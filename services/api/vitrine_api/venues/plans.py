"""What a chair writes, read: deadlines in time zones, checklists, rosters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vitrine_api.accounts import EMAIL
from vitrine_common.documents import ChecklistItem
from vitrine_common.documents.venue import Automatic
from vitrine_common.errors import Invalid, Problem

ANYWHERE = "AoE"
"""Anywhere on Earth: the last time zone in which a day ends, twelve hours after UTC."""
AUTOMATIC: dict[Automatic, str] = {
    "builds": "Its environment builds",
    "runs": "It runs on an example",
    "claims": "Its claims are reproduced",
}
MANUAL = ("Documented well enough to use", "Does what the paper says")
DECISIONS = ("Accept", "Accept after changes", "Reject")
MAX_ITEMS, MAX_LINE, MAX_REVIEWERS = 30, 200, 200
_LINE = re.compile(r"\s*(?P<name>[^<>]*?)\s*<\s*(?P<email>[^<>\s]+)\s*>\s*")
_DOMAIN = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class VenueWish:
    """What a venue shall be like; `deadline` is a local time in `time_zone`."""

    name: str
    description: str = ""
    deadline: str
    time_zone: str = "UTC"
    blind: bool = True
    hidden_from_chair: bool = False
    max_runs: int | None = None
    automatic: Sequence[Automatic] = tuple(AUTOMATIC)
    manual: Sequence[str] = MANUAL
    decisions: Sequence[str] = DECISIONS


@dataclass(frozen=True)
class Seat:
    """One line of a roster: who shall review."""

    name: str
    email: str
    conflicts: tuple[str, ...] = ()


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", (Problem(field, message),))


def zone_of(name: str) -> tzinfo:
    """Return the time zone of that name. Raises Invalid naming `time_zone`."""
    if name == ANYWHERE:
        return timezone(timedelta(hours=-12), ANYWHERE)
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _invalid(
            "time_zone",
            f"`{name[:60]}` is no time zone here; write for example `Europe/Berlin`, `UTC` or `AoE`",
        ) from None


def parse_deadline(text: str, time_zone: str) -> datetime:
    """Return the moment (UTC) of a local time such as `2026-12-01T23:59:59`. Raises Invalid.

    A date alone means its last second. Of a time that a change of clocks brings twice, the first is meant;
    one that it leaves out is refused.
    """
    zone = zone_of(time_zone)
    text = text.strip()
    try:
        local = datetime.fromisoformat(f"{text}T23:59:59" if len(text) == 10 else text)
    except ValueError:
        raise _invalid(
            "deadline", f"`{text[:40]}` is no date and time; write for example `2026-12-01T23:59:59`"
        ) from None
    if local.tzinfo is not None:
        return local.astimezone(UTC).replace(microsecond=0)
    try:
        moment = local.replace(tzinfo=zone, microsecond=0).astimezone(UTC)
        back = moment.astimezone(zone)
    except OverflowError:
        raise _invalid("deadline", "this is too long ago, or too far away") from None
    if back.replace(tzinfo=None) != local.replace(microsecond=0):
        raise _invalid("deadline", f"clocks in {time_zone} skip {text}; take another time")
    return moment


def local_words(moment: datetime, time_zone: str) -> str:
    """Return a moment as people of a time zone write it: `1 December 2026, 23:59:59 Europe/Berlin`."""
    local = moment.astimezone(zone_of(time_zone))
    return f"{local.day} {local:%B %Y, %H:%M:%S} {time_zone}"


def local_input(moment: datetime, time_zone: str) -> str:
    """Return a moment as `parse_deadline` reads it."""
    return moment.astimezone(zone_of(time_zone)).strftime("%Y-%m-%dT%H:%M:%S")


def checklist_of(automatic: Sequence[Automatic], manual: Sequence[str]) -> list[ChecklistItem]:
    """Return the checklist: what the platform finds out, then what reviewers say. Raises Invalid."""
    items = [
        ChecklistItem(key=name, title=title, auto=name)
        for name, title in AUTOMATIC.items()
        if name in automatic
    ]
    titles = _lines("manual", manual)
    items += [ChecklistItem(key=f"item_{number}", title=title) for number, title in enumerate(titles, 1)]
    return items


def decisions_of(given: Sequence[str]) -> list[str]:
    """Return what may be decided. Raises Invalid."""
    found = _lines("decisions", given)
    if not found:
        raise _invalid("decisions", "name at least one decision, such as `Accept`")
    return found


def _lines(field: str, given: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(line.strip() for line in given if line.strip()))
    if len(found) > MAX_ITEMS or any(len(line) > MAX_LINE for line in found):
        raise _invalid(field, f"take at most {MAX_ITEMS} lines of at most {MAX_LINE} characters")
    return found


def parse_conflicts(field: str, given: Sequence[str]) -> list[str]:
    """Return addresses and domains, lower case. Raises Invalid naming `field`."""
    found = [word.strip().lower().removeprefix("@") for word in given if word.strip()]
    for word in found:
        if not EMAIL.fullmatch(word) and not _DOMAIN.fullmatch(word):
            raise _invalid(field, f"`{word[:80]}` is neither an e-mail address nor a domain")
    if len(found) > MAX_REVIEWERS:
        raise _invalid(field, f"take at most {MAX_REVIEWERS}")
    return list(dict.fromkeys(found))


def parse_roster(text: str) -> list[Seat]:
    """Return the reviewers of lines such as `Eva Wong <eva@uni.example>; not: lab.example, bo@b.example`.

    A line may be an address alone. Raises Invalid naming each line that is neither.
    """
    seats: list[Seat] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        who, _, declared = line.partition(";")
        match = _LINE.fullmatch(who)
        name, email = (match["name"], match["email"]) if match else ("", who.strip())
        email = email.lower()
        if not EMAIL.fullmatch(email):
            raise _invalid(
                "reviewers", f"`{line.strip()[:80]}` is no reviewer; write `Name <address@example.org>`"
            )
        words = declared.strip().removeprefix("not:").replace(",", " ").split()
        conflicts = parse_conflicts("reviewers", words)
        seats.append(Seat(name or email.partition("@")[0], email, tuple(conflicts)))
    if len(seats) > MAX_REVIEWERS:
        raise _invalid("reviewers", f"add at most {MAX_REVIEWERS} at a time")
    if len({seat.email for seat in seats}) < len(seats):
        raise _invalid("reviewers", "an address stands there twice")
    return seats
