"""Workers of versions with `scaling.min` stand ready before anybody asks, and again whatever ended them.

Each host looks at what the fleet has of a version. Where workers are missing, it takes one of as many permits
as the version has least workers, and starts one; a host that has more workers than another leaves that one
the first turn. Nothing makes way for such workers, and they take at most half of a host.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from vitrine_common.fleet import BEAT_SECONDS, Fleet
from vitrine_common.messages import RunnerBeat
from vitrine_common.spec import Limits as SpecLimits
from vitrine_runner.errors import RunFault
from vitrine_runner.least import LeastWorkers, Wished
from vitrine_runner.permits import Permits
from vitrine_runner.workers import Need, WorkerPool

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Pause between looks at which versions want workers; what happens to workers is seen at once."""
SETTLE_SECONDS = 1.5 * BEAT_SECONDS
"""How long a host that is new listens for the others first."""
TURN_SECONDS = 2 * BEAT_SECONDS
"""How long a worker is left to a host that has fewer."""
PAUSES = (5.0, 30.0, 120.0, 600.0)
"""Seconds after a worker that could not be started, by how often that happened in a row."""
_AT_ONCE = 2


@dataclass
class _Trouble:
    """A version whose workers do not start."""

    times: int
    until: float


@dataclass
class Keeping:
    """Keeps the least workers of versions.

    Args:
        least: reads which versions want workers.
        pool: the workers here.
        permits: this host's share.
        fleet: the other hosts.
        holder: the name of this one.
        clock: seconds that only grow.
    """

    least: LeastWorkers
    pool: WorkerPool
    permits: Permits
    fleet: Fleet
    holder: str
    clock: Callable[[], float] = time.monotonic
    _wished: list[Wished] = field(default_factory=list)
    _read_at: float = float("-inf")
    _missed: dict[Need, float] = field(default_factory=dict)
    _trouble: dict[Need, _Trouble] = field(default_factory=dict)
    _starting: dict[Need, asyncio.Task[None]] = field(default_factory=dict)
    _closed: bool = False

    async def keep_forever(self) -> None:
        """Start what is missing, until cancelled."""
        await asyncio.sleep(SETTLE_SECONDS)
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("will look again which workers are missing")
            changed = asyncio.ensure_future(self.pool.change())
            try:
                await asyncio.wait({changed}, timeout=BEAT_SECONDS / 2)
            finally:
                changed.cancel()
            await asyncio.sleep(0.1)  # what changes by the hundred is looked at ten times a second

    def look_again(self) -> None:
        """Look anew at which versions want workers."""
        self._read_at = float("-inf")

    async def look(self) -> None:
        """Begin to start what is missing and may be started here; nothing once this is closed."""
        if not self._closed and self.clock() - self._read_at >= LOOK_SECONDS:
            self._wished = await self.least.wished()
            self._read_at = self.clock()
            self.pool.wanted = {wish.need for wish in self._wished}
        if self._closed:  # meanwhile, perhaps
            return
        for wish in self._due():
            if len(self._starting) >= _AT_ONCE:
                return
            task = asyncio.create_task(self._start(wish), name="worker ahead")
            self._starting[wish.need] = task
            task.add_done_callback(partial(self._ended, wish.need))

    def _ended(self, need: Need, task: asyncio.Task[None]) -> None:
        self._starting.pop(need, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("a worker that stands ready will be tried again", exc_info=task.exception())

    async def close(self) -> None:
        """Start nothing more."""
        self._closed = True
        for task in list(self._starting.values()):
            task.cancel()
        await asyncio.gather(*self._starting.values(), return_exceptions=True)

    def _due(self) -> Iterator[Wished]:
        """Yield what is missing in the fleet and is this host's to start."""
        others = self.fleet.others(self.holder)
        now = self.clock()
        for wish in self._wished:
            need = wish.need
            told = sum(
                one.workers
                for beat in others
                for one in beat.warm
                if Need(one.version_digest, one.environment_digest, one.owner_id) == need
            )
            if told + self.pool.standing.number_of(need) >= wish.number:
                self._missed.pop(need, None)
                continue
            limits = self.pool.limits_of(wish.spec)
            trouble = self._trouble.get(need)
            rests = trouble is not None and now < trouble.until
            if need in self._starting or rests or not self.pool.has_room_ahead(limits):
                continue
            missed_for = now - self._missed.setdefault(need, now)
            if missed_for >= TURN_SECONDS or not self._is_others_turn(others, limits):
                yield wish

    def _is_others_turn(self, others: list[RunnerBeat], limits: SpecLimits) -> bool:
        """Whether a host that could start a worker has fewer; of equal ones, the first by name."""
        device = "gpu" if limits.gpu else "cpu"
        own = (len(self.pool.workers), self.holder)
        return any(
            (sum(one.workers for one in beat.warm), beat.holder) < own
            for beat in others
            if device in beat.devices and beat.memory_free >= limits.memory
        )

    async def _start(self, wish: Wished) -> None:
        """Start a worker where this host gets a permit; one that fails is tried again later and later."""
        async with AsyncExitStack() as holds:
            permit = await self.permits.take(wish.need, wish.number, ahead=True)
            if permit is None:
                return
            holds.push_async_callback(self.permits.give_back, permit)
            try:
                await self.pool.start_ahead(wish.need, holds)
            except RunFault as fault:
                known = self._trouble.get(wish.need)
                times = known.times + 1 if known else 1
                pause = PAUSES[min(times, len(PAUSES)) - 1]
                self._trouble[wish.need] = _Trouble(times, self.clock() + pause)
                log.warning(
                    "a worker that stands ready could not be started: %s",
                    fault.message,
                    extra={"version_digest": wish.need.version_digest, "again_seconds": pause},
                )
            else:
                self._trouble.pop(wish.need, None)
