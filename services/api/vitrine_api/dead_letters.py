"""Messages that nobody could handle: what they were about, sending them again, dropping them.

Only names are told of a message: its kind, and the ids and digests in it. What somebody wrote, asked or got
is not the operator's to read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from vitrine_api import audit
from vitrine_api.policy import Action, Member, require
from vitrine_api.repository import Accounts, Page
from vitrine_common.bus import Bus
from vitrine_common.bus.delivery import REASON_HEADER, SUBJECT_HEADER
from vitrine_common.errors import Conflict, NotFound, Unavailable
from vitrine_common.messages.subjects import DEAD_LETTERS, DEAD_PREFIX, ROUTES

_LONGEST_VALUE = 100
_QUOTED = re.compile(r"input_value=.*?, (?=input_type=)|input_value=.*$")
"""What a message that cannot be read is quoted with where that is complained of."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that nobody could handle. `number` names it; `about` are the ids and digests in it."""

    number: int
    subject: str
    reason: str
    at: datetime
    size: int
    message_id: str
    kind: str
    correlation_id: str
    about: Mapping[str, str]


class DeadLetters:
    """Reads, replays and drops dead letters; operators only.

    Args:
        bus: the stream that keeps them.
        accounts: where the audit log is.
    """

    def __init__(self, bus: Bus, accounts: Accounts) -> None:
        self._bus = bus
        self._accounts = accounts

    async def count(self, member: Member) -> int:
        """Return how many there are."""
        require(member, Action.OPERATE, None)
        return int((await self._bus.client.jetstream().stream_info(DEAD_LETTERS)).state.messages)

    async def page(self, member: Member, limit: int, after: str | None) -> Page[DeadLetter]:
        """Return up to `limit`, the oldest first; `after` is the number of the last one seen."""
        require(member, Action.OPERATE, None)
        number = int(after) if after and after.isascii() and after.isdigit() else 0
        found: list[DeadLetter] = []
        while len(found) <= limit:
            raw = await self._next(number + 1)
            if raw is None:
                return Page(found, None)
            found.append(_letter(raw))
            number = found[-1].number
        return Page(found[:limit], str(found[limit - 1].number))

    async def get(self, member: Member, number: int) -> DeadLetter:
        """Return one. Raises NotFound."""
        require(member, Action.OPERATE, None)
        return _letter(await self._raw(number))

    async def replay(self, member: Member, number: int) -> DeadLetter:
        """Send a message again on the subject that it came by, and forget the dead letter.

        Whoever does so twice, or at the same time as somebody else, sends it once: the number names it.
        Raises NotFound for one that was replayed or dropped already, Conflict where nobody takes it any more.
        """
        require(member, Action.OPERATE, None)
        raw = await self._raw(number)
        letter = _letter(raw)
        if not any(route.stream and letter.subject in route.subjects for route in ROUTES):
            raise Conflict(f"nobody takes `{letter.subject[:100]}` any more; drop it")
        await self._bus.client.jetstream().publish(
            letter.subject, raw.data or b"", headers={"Nats-Msg-Id": f"replay:{number}:{letter.message_id}"}
        )
        await self._end(member, letter, "dead_letter.replayed")
        return letter

    async def drop(self, member: Member, number: int) -> DeadLetter:
        """Forget a dead letter for good. Raises NotFound for one that was replayed or dropped already."""
        require(member, Action.OPERATE, None)
        letter = _letter(await self._raw(number))
        await self._end(member, letter, "dead_letter.dropped")
        return letter

    async def _end(self, member: Member, letter: DeadLetter, action: str) -> None:
        try:
            await self._bus.client.jetstream().delete_msg(DEAD_LETTERS, letter.number)
        except APIError as error:
            if isinstance(error, ServiceUnavailableError):
                raise Unavailable("the bus does not answer; try again in a moment") from error
            return  # somebody else was quicker, and it stands in the log in their name
        subject = f"{letter.number} ({letter.subject})"
        await audit.record_named(self._accounts, member, action, kind="dead letter", subject=subject)

    async def _raw(self, number: int) -> RawStreamMsg:
        try:
            return await self._bus.client.jetstream().get_msg(DEAD_LETTERS, seq=number)
        except NotFoundError:
            message = (
                f"there is no dead letter {number}; it was replayed or dropped, or is older than 30 days"
            )
            raise NotFound(message) from None
        except NatsTimeout as error:
            raise Unavailable("the bus does not answer; try again in a moment") from error

    async def _next(self, number: int) -> RawStreamMsg | None:
        try:
            return await self._bus.client.jetstream().get_msg(
                DEAD_LETTERS, seq=number, subject=f"{DEAD_PREFIX}.>", next=True
            )
        except NotFoundError:
            return None
        except NatsTimeout as error:
            raise Unavailable("the bus does not answer; try again in a moment") from error


def _letter(raw: RawStreamMsg) -> DeadLetter:
    headers, data = raw.headers or {}, raw.data or b""
    head = _head_of(data)
    payload = head.get("payload")
    return DeadLetter(
        number=raw.seq or 0,
        subject=headers.get(SUBJECT_HEADER) or (raw.subject or "").removeprefix(f"{DEAD_PREFIX}."),
        reason=_QUOTED.sub("", headers.get(REASON_HEADER) or ""),
        at=raw.time or datetime.fromtimestamp(0, UTC),
        size=len(data),
        message_id=str(head.get("id") or "")[:_LONGEST_VALUE],
        kind=str(head.get("type") or "unreadable")[:_LONGEST_VALUE],
        correlation_id=str(head.get("correlation_id") or "")[:_LONGEST_VALUE],
        about=_names_in(payload) if isinstance(payload, dict) else {},
    )


def _head_of(data: bytes) -> dict[str, Any]:
    try:
        head = json.loads(data)
    except ValueError:
        return {}
    return head if isinstance(head, dict) else {}


def _names_in(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids and digests of a payload, and nothing that somebody wrote."""
    return {
        name: value[:_LONGEST_VALUE]
        for name, value in payload.items()
        if isinstance(value, str) and name.endswith(("_id", "_digest"))
    }
