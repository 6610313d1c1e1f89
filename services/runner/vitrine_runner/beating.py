"""Telling others what this host has to give: at a steady pace, and at once when it changes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from vitrine_common.bus import Bus
from vitrine_common.fleet import BEAT_SECONDS
from vitrine_common.messages import RunnerBeat
from vitrine_runner.dispatch import Dispatcher
from vitrine_runner.workers import WorkerPool

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
"""Changes are told at most so often."""


class Heartbeat:
    """Tells how this host is.

    Args:
        bus: where it is told.
        holder: this host's name.
        dispatcher: what is worked on.
        pool: the workers.
    """

    def __init__(self, bus: Bus, holder: str, dispatcher: Dispatcher, pool: WorkerPool) -> None:
        self._bus = bus
        self._holder = holder
        self._dispatcher = dispatcher
        self._pool = pool
        self._told: RunnerBeat | None = None

    def beat(self) -> RunnerBeat:
        """Return how this host is now."""
        slots, pool = self._dispatcher.slots, self._pool
        return RunnerBeat(
            holder=self._holder,
            leaving=slots.closed,
            devices=self._dispatcher.devices,
            slots=slots.number,
            busy=slots.busy,
            memory_bytes=pool.memory_bytes,
            memory_free=pool.memory_free,
            warm=pool.standing.versions(),
            environments=pool.standing.environments(),
            gpus=pool.gpus.states(),
        )

    async def tell_forever(self) -> None:
        """Tell, until cancelled."""
        loop = asyncio.get_running_loop()
        last = float("-inf")
        while True:
            try:
                beat = self.beat()
                if beat != self._told or loop.time() - last >= BEAT_SECONDS:
                    await self._bus.tell(beat)
                    self._told, last = beat, loop.time()
            except Exception:
                log.exception("will tell again how this host is")
            await asyncio.sleep(LOOK_SECONDS)
            await self._changed(last + BEAT_SECONDS - loop.time())

    async def leave(self) -> None:
        """Tell that nothing more is taken here."""
        with suppress(Exception):
            await self._bus.tell(self.beat().model_copy(update={"leaving": True}))

    async def _changed(self, seconds: float) -> None:
        """Return when something changed, or after `seconds`."""
        waits = [
            asyncio.ensure_future(wait) for wait in (self._dispatcher.slots.change(), self._pool.change())
        ]
        try:
            await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
