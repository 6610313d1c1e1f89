"""Synchronous calls become runs: written down before the answer, stored in batches after it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vitrine_api import audit
from vitrine_api.inference.admission import Admitted
from vitrine_api.inference.datatypes import to_json
from vitrine_api.inference.journal import Journal, Segment
from vitrine_api.inference.protocol import InferRequest, Tensor
from vitrine_api.policy import Member, Visitor
from vitrine_api.repository import Accounts
from vitrine_common.bus import Bus
from vitrine_common.clock import utcnow
from vitrine_common.digests import canonical_json, sha256_bytes
from vitrine_common.documents import CallOutcome, Output, RunRequest, Timings
from vitrine_common.messages import CallRecord, ModelAnswer
from vitrine_common.states import Reason, RunState
from vitrine_common.store import Collection

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""How long what is written down is gathered before it is stored."""
PACE = 50
"""Calls that are stored in a second while others are answered: records give way to answers."""
MOST_BEHIND = 20_000
"""From so many calls on that are not stored yet, storing gives way no more."""
AGAIN_SECONDS = 2.0
BATCH = 50
"""Calls of one insertion and one command: encoding more at a time would keep answers waiting."""
MAX_KNOWN = 1000
SHOWN_ELEMENTS = 64
"""Outputs of up to so many numbers stand in the run itself."""
AUDIT_SECONDS = 60.0
INPUT = "tensor:{}"
"""How a tensor stands among a run's inputs: no declared input can have such a name."""


class Ended:
    """How a call ended: by an answer, or by a reason and a message."""

    __slots__ = ("answer", "message", "reason", "tensors")

    def __init__(
        self,
        answer: ModelAnswer | None,
        tensors: Sequence[Tensor] = (),
        reason: Reason | None = None,
        message: str = "",
    ) -> None:
        self.answer = answer
        self.tensors = tensors
        self.reason = reason
        self.message = message


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
        self._journal.append(_request_of(call_id, admitted, request, began, ended))
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


def _request_of(
    call_id: str, admitted: Admitted, request: InferRequest, began: datetime, ended: Ended
) -> RunRequest:
    version, principal, link = admitted.version, admitted.principal, admitted.link
    now = utcnow()
    head = ended.answer
    inputs = {INPUT.format(item.name): _described(item) for item in request.inputs}
    total = (now - began).total_seconds() * 1000
    waited = head.waited_ms if head is not None else None
    cold = head.cold if head is not None else None
    return RunRequest(
        id=call_id,
        created_at=began,
        version_id=version.id,
        version_digest=version.digest,
        environment_digest=version.environment_digest or "",
        owner_id=version.owner_id,
        user_id=principal.id if isinstance(principal, Member) else None,
        link_id=link.id if link is not None else None,
        visitor_id=principal.visitor_id if isinstance(principal, Visitor) else None,
        blind=link is not None and (link.blind or bool(link.venue_id)),
        inputs=canonical_json(inputs).decode(),
        device=admitted.device,
        expires_at=now,
        call=CallOutcome(
            state=RunState.SUCCEEDED if ended.reason is None else RunState.FAILED,
            reason=ended.reason,
            message=ended.message[:2000],
            cold=cold,
            outputs=[_output(item) for item in ended.tensors],
            timings=Timings(
                queued_ms=None if cold else waited,
                start_ms=waited if cold else None,
                compute_ms=head.compute_ms if head is not None else None,
                total_ms=total,
            ),
            finished_at=now,
            runner=head.runner if head is not None else None,
        ),
    )


def _described(tensor: Tensor) -> Mapping[str, Any]:
    """Describe a tensor without its values: what it was can be proved to whoever has them."""
    return {
        "datatype": tensor.kind.name,
        "shape": list(tensor.shape),
        "digest": sha256_bytes(tensor.data),
        "size": len(tensor.data),
    }


def _output(tensor: Tensor) -> Output:
    described = dict(_described(tensor))
    small = tensor.kind.width and len(tensor.data) <= SHOWN_ELEMENTS * tensor.kind.width
    if small:
        described["data"] = to_json(tensor.kind, tensor.data)
    try:
        value = canonical_json(described)
    except ValueError:  # JSON has no infinity and no NaN
        del described["data"]
        value = canonical_json(described)
    return Output(name=tensor.name, type="json", value=value.decode())
