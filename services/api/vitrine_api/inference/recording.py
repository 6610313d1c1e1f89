"""Synchronous calls become runs: written down before the answer, stored in batches after it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from datetime import datetime

from vitrine_api import audit
from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.journal import Journal, Segment
from vitrine_api.inference.lines import Ended, line_of
from vitrine_api.inference.protocol import InferRequest
from vitrine_api.policy import Member, Visitor
from vitrine_api.repository import Accounts
from vitrine_common.bus import Bus
from vitrine_common.documents import RunRequest
from vitrine_common.messages import CallRecord
from vitrine_common.store import Collection

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""How long what is written down is gathered before it is stored."""
PACE = 20
"""Calls that are stored in a second while others are answered: records give way to answers."""
MOST_BEHIND = 20_000
"""From so many calls on that are not stored yet, storing gives way no more."""
AGAIN_SECONDS = 2.0
BATCH = 50
"""Calls of one insertion and one command: encoding more at a time would keep answers waiting."""
MAX_KNOWN = 1000
AUDIT_SECONDS = 60.0


class Recorder:
    """Writes calls down.

    Args:
        journal: holds what is not stored yet.
        requests: where calls are stored.
        accounts: for the audit log.
        bus: tells the runner, which writes the runs.
    """

    def __init__(
        self, journal: Journal, requests: Collection[RunRequest], accounts: Accounts, bus: Bus
    ) -> None:
        self._journal = journal
        self._requests = requests
        self._accounts = accounts
        self._bus = bus
        self._left: deque[Segment] = deque()
        self._behind = 0
        self._closing = False
        self._noted_at = 0.0
        self._audited: dict[tuple[str, str], float] = {}

    def open(self) -> None:
        """Take over what killed processes left. Raises Unavailable when the journal cannot be used."""
        self._left.extend(self._journal.open())
        self._behind = sum(segment.calls for segment in self._left)

    async def note(
        self,
        call_id: str,
        admitted: Admitted,
        request: InferRequest,
        began: datetime,
        ended: Ended,
    ) -> None:
        """Write a call down; its answer may be sent when this returns. Raises Unavailable."""
        self._journal.append(line_of(call_id, admitted, request, began, ended))
        self._behind += 1
        self._noted_at = time.monotonic()
        await self._journal.settled()

    async def audit(self, admitted: Admitted) -> None:
        """Note once in a while that somebody calls a version; each call is in the list of runs."""
        principal = admitted.principal
        who = principal.link.id if isinstance(principal, Visitor) else ""
        who = principal.id if isinstance(principal, Member) else who
        key, now = (who, admitted.version.id), asyncio.get_running_loop().time()
        if now - self._audited.get(key, -AUDIT_SECONDS) < AUDIT_SECONDS:
            return
        if len(self._audited) > MAX_KNOWN:
            self._audited.clear()
        self._audited[key] = now
        await audit.record(self._accounts, principal, "version.called", admitted.version)

    async def sync_forever(self) -> None:
        """Force the journal to disk, again and again."""
        await self._journal.sync_forever()

    async def store_forever(self) -> None:
        """Store what was written down, a batch at a time."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if (segment := self._journal.turn()) is not None:
                self._left.append(segment)
            while self._left:
                await self._insist(self._left[0])
                self._left.popleft()

    async def close(self) -> None:
        """Store the rest, once; what cannot be stored now stays in the journal."""
        self._closing = True
        segments = [*self._left, self._journal.close()]
        for segment in segments:
            if segment is not None:
                try:
                    await self._store(segment)
                except Exception:
                    log.exception("calls stay in the journal", extra={"calls": segment.calls})

    async def _insist(self, segment: Segment) -> None:
        while True:
            try:
                await self._store(segment)
            except Exception:
                log.exception("calls will be stored again", extra={"calls": segment.calls})
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _store(self, segment: Segment) -> None:
        requests = segment.requests()
        for start in range(0, len(requests), BATCH):
            batch = requests[start : start + BATCH]
            await self._requests.insert_all(batch)
            await self._bus.send(CallRecord(run_ids=[request.id for request in batch]))
            self._behind -= len(batch)
            await self._give_way(len(batch))
        segment.remove()

    async def _give_way(self, stored: int) -> None:
        """Leave the machine to answers, while there are any and not too much is behind."""
        ends = time.monotonic() + stored / PACE
        while not self._closing and time.monotonic() < ends and self._behind < MOST_BEHIND:
            if time.monotonic() - self._noted_at > PAUSE_SECONDS:
                return
            await asyncio.sleep(PAUSE_SECONDS / 10)
