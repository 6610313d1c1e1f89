"""How many runs wait before one, and for about how long: counted, at most once a second for everybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vitrine_api.repository import Runs as RunRepository
from vitrine_common.documents import Run, RunRequest
from vitrine_common.states import RUN, RunState

LOOKED_AT = 100
"""Requests that are looked at, the newest first: who waits longer than they is told "more than"."""
FRESH_SECONDS = 1.0
_ENOUGH = 3
"""Finished runs without which nothing is said about time."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the queue."""

    ahead: int
    """Runs that were asked for earlier and have not begun."""
    seconds: float | None = None
    """About how long until it begins; None where nothing tells."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The newest requests that have not expired, as they stood at one moment."""

    waiting: Sequence[RunRequest]
    """The oldest first."""
    active: int
    seconds: float | None
    """What a run takes in the middle, without its wait."""

    def place(self, request: RunRequest) -> Place:
        """Return the place of a request that waits."""
        ahead = sum(
            other.device == request.device and (other.created_at, other.id) < (request.created_at, request.id)
            for other in self.waiting
        )
        if self.seconds is None or not self.active:
            return Place(ahead)
        # Runs end one after another, evenly over the time that one takes, on as many places as work now.
        return Place(ahead, (ahead + 1) * self.seconds / self.active)


def queue_of(requests: Sequence[RunRequest], runs: Mapping[str, Run]) -> Queue:
    """Return the queue that requests make, given what became of them."""
    states = {request.id: runs[request.id].state for request in requests if request.id in runs}
    waiting = [one for one in requests if states.get(one.id, RunState.QUEUED) is RunState.QUEUED]
    spent = [_spent(run) for run in runs.values() if RUN.is_final(run.state)]
    known = [seconds for seconds in spent if seconds is not None]
    return Queue(
        waiting=sorted(waiting, key=lambda one: (one.created_at, one.id)),
        active=sum(state in RUN.active for state in states.values()),
        seconds=median(known) if len(known) >= _ENOUGH else None,
    )


def _spent(run: Run) -> float | None:
    timings = run.timings
    parts = [timings.start_ms, timings.compute_ms, timings.save_ms]
    return sum(part or 0.0 for part in parts) / 1000 if timings.compute_ms is not None else None


class Waiting:
    """Tells places in the queue.

    Args:
        runs: requests, and what became of them.
        clock: seconds that only grow.
    """

    def __init__(self, runs: RunRepository, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._clock = clock
        self._lock = asyncio.Lock()
        self._queue: Queue | None = None
        self._until = 0.0

    async def place(self, request: RunRequest) -> Place:
        """Return the place of a request that waits."""
        async with self._lock:
            if self._queue is None or self._clock() >= self._until:
                requests = await self._runs.newest_unexpired(LOOKED_AT)
                runs = await self._runs.runs(one.id for one in requests)
                self._queue = queue_of(requests, runs)
                self._until = self._clock() + FRESH_SECONDS
            return self._queue.place(request)
