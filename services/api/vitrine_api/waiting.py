"""How many runs are served before one, and for about how long it waits.

Counted, at most once a second for everybody, by the rules that runners serve by (`vitrine_common.fairness`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vitrine_common.documents import RunRequest
from vitrine_common.documents.base import to_bson
from vitrine_common.fairness import Waiting as WaitingRun
from vitrine_common.fairness import serving_order
from vitrine_common.fleet import Fleet
from vitrine_common.run_queue import Device, RunQueue, Started

LOOKED_AT = 200
"""Runs that are looked at, those that have waited for longest; who comes after them is told "more than"."""
OF_OTHERS = 10
BEGUN = 100
FRESH_SECONDS = 1.0
SHARE = 0.05
"""Most of the time that may be spent on looking, however long the queue."""
_ENOUGH = 3
"""Finished runs without which nothing is said about time."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue."""

    ahead: int
    """Runs that are to be served before it and have not begun."""
    seconds: float | None = None
    """About how long until it begins; None where nothing tells."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one device, and what was begun lately, as it stood at one moment."""

    waiting: Sequence[WaitingRun]
    begun: Sequence[Started]
    ranks: Mapping[str, int]
    """Places of the runs that wait, by id."""
    slots: int = 0
    """Runs that all runners together work on at a time; 0 where none was heard."""

    def place(self, request: RunRequest) -> Place:
        """Return the place of a request that waits."""
        ahead = self.ranks.get(request.id)
        if ahead is None:  # nobody has written it down yet
            ahead = _ranks([*self.waiting, _waiting(request)], self.begun)[request.id]
        places = self.slots or sum(one.begun.active for one in self.begun)
        known = [one.seconds for one in self.begun if one.seconds is not None]
        if len(known) < _ENOUGH or not places:
            return Place(ahead)
        # Runs end one after another, evenly over the time that one takes, on as many places as there are.
        return Place(ahead, (ahead + 1) * median(known) / places)


def queue_of(waiting: Sequence[WaitingRun], begun: Sequence[Started], slots: int = 0) -> Queue:
    """Return the queue that runs make which wait, and which were begun."""
    return Queue(waiting, begun, _ranks(waiting, begun), slots)


def _ranks(waiting: Sequence[WaitingRun], begun: Sequence[Started]) -> Mapping[str, int]:
    order = serving_order(waiting, [one.begun for one in begun])
    return {one.id: rank for rank, one in enumerate(order)}


def _waiting(request: RunRequest) -> WaitingRun:
    return WaitingRun(request.id, request.flow, to_bson(request.created_at))


@dataclass
class _Look:
    """The last look at a queue, and until when it is good enough."""

    queue: Queue
    until: float


class Waiting:
    """Tells places in the queue.

    Args:
        runs: the queue.
        fleet: who serves it.
        clock: seconds that only grow.
    """

    def __init__(self, runs: RunQueue, fleet: Fleet, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._fleet = fleet
        self._clock = clock
        self._lock = asyncio.Lock()
        self._looks: dict[Device, _Look] = {}

    async def place(self, request: RunRequest) -> Place:
        """Return the place of a request that waits."""
        async with self._lock:
            look = self._looks.get(request.device)
            if look is None or self._clock() >= look.until:
                look = self._looks[request.device] = await self._look(request.device)
        return look.queue.place(request)

    async def _look(self, device: Device) -> _Look:
        started = self._clock()
        waiting = await self._runs.window(device, LOOKED_AT, OF_OTHERS)
        queue = queue_of(waiting, await self._runs.begun(device, BEGUN), self._fleet.slots(device))
        now = self._clock()
        return _Look(queue, now + max(FRESH_SECONDS, (now - started) / SHARE))
