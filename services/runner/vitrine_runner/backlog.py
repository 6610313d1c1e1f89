"""What waits in the database, as one host sees it: looked at often enough, read no more than needed."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from itertools import islice

from vitrine_common.clock import utcnow
from vitrine_common.documents.base import to_bson
from vitrine_common.fairness import Begun, Flow, Waiting, serving_order
from vitrine_common.run_queue import Device, Head, RunQueue

LOOK_SECONDS = 0.25
"""Two looks at a queue that is not empty are so far apart at least."""
POLL_SECONDS = 1.0
"""Pause between looks that nothing gave reason to: news of waiting runs may be lost."""
SHARE = 0.1
"""Most of the time that may be spent on looking, however long the queue."""
HEADS = 8
MAX_FLOWS = 128
"""Flows whose oldest runs are read; of more, those whose turn comes first by what they had."""
REMEMBERED = 100


class Backlog:
    """The runs of one device that wait.

    Args:
        queue: where they are.
        device: what they need.
        clock: seconds that only grow.
    """

    def __init__(self, queue: RunQueue, device: Device, clock: Callable[[], float] = time.monotonic) -> None:
        self.device: Device = device
        self._queue = queue
        self._clock = clock
        self._heads: defaultdict[Flow, deque[Head]] = defaultdict(deque)
        self._flows: set[Flow] = set()
        self._begun: OrderedDict[str, Begun] = OrderedDict()
        self._looked_at = float("-inf")
        self._next_look = float("-inf")
        self._news = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing waited a moment ago, and nothing was heard since."""
        return not self._flows and not self._news and self._clock() - self._looked_at < 2 * POLL_SECONDS

    @property
    def seconds_to_look(self) -> float:
        """How long until the next look has a point."""
        now = self._clock()
        due = self._next_look if self._flows or self._news else self._looked_at + POLL_SECONDS
        return max(0.0, due - now)

    def note(self, head: Head) -> None:
        """Hear that a run waits."""
        self._news = True
        if head.flow not in self._flows:
            self._flows.add(head.flow)
            self._heads[head.flow] = deque([head])

    def note_begun(self, run_id: str, flow: Flow) -> None:
        """Count a run as at work."""
        self._begun[run_id] = Begun(flow, time.time() * 1000, active=True)

    def note_ended(self, run_id: str) -> None:
        """Count a run as over."""
        if (begun := self._begun.get(run_id)) is not None:
            self._begun[run_id] = Begun(begun.flow, begun.at, active=False)

    async def candidates(self) -> Iterator[Head]:
        """Return the oldest run of each flow, in the order in which they are to be served."""
        if self.seconds_to_look == 0.0:
            await self._look()
        await self._read_heads()
        now = to_bson(utcnow())
        for queue in self._heads.values():
            while queue and queue[0].expires_at <= now:
                queue.popleft()  # ended by `Cancellation.expire_forever`
        heads = {queue[0].id: queue[0] for queue in self._heads.values() if queue}
        waiting = [Waiting(head.id, head.flow, head.since) for head in heads.values()]
        order = serving_order(waiting, self._begun.values())
        return (heads[one.id] for one in order)

    def drop(self, head: Head) -> None:
        """Forget a run that does not wait any more."""
        queue = self._heads[head.flow]
        if queue and queue[0].id == head.id:
            queue.popleft()

    async def _look(self) -> None:
        started = self._clock()
        self._news = False
        try:
            self._flows = await self._queue.flows(self.device)
            if self._flows:
                begun = await self._queue.begun(self.device, REMEMBERED)
                self._begun = OrderedDict((one.id, one.begun) for one in reversed(begun))
        except BaseException:
            self._news = True
            raise
        self._heads = defaultdict(deque, {f: q for f, q in self._heads.items() if f in self._flows})
        self._looked_at = now = self._clock()
        self._next_look = now + (max(LOOK_SECONDS, (now - started) / SHARE) if self._flows else 0.0)

    async def _read_heads(self) -> None:
        """Read the oldest runs of flows of which none is known; a flow without any is over."""
        unread = [flow for flow in self._flows if not self._heads[flow]]
        if len(unread) > MAX_FLOWS:
            by_share = serving_order((Waiting(flow.key, flow, 0.0) for flow in unread), self._begun.values())
            unread = [one.flow for one in islice(by_share, MAX_FLOWS)]
        for flow in unread:
            heads = await self._queue.heads(self.device, flow, HEADS)
            if heads:
                self._heads[flow] = deque(heads)
            else:
                self._flows.discard(flow)
                self._heads.pop(flow, None)
