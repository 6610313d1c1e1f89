"""Which runs this host works on: one slot each, claimed only when a slot is free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vitrine_common.clock import utcnow
from vitrine_common.documents import Run, RunRequest
from vitrine_common.errors import Unavailable
from vitrine_common.states import RUN
from vitrine_runner.execution import Desk, Execution
from vitrine_runner.live import tell_end
from vitrine_runner.slots import Slots

log = logging.getLogger(__name__)

T = TypeVar("T")

SIGN_SECONDS = 5.0
"""Pause between two signs of life for a message that waits here."""
AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 10.0
"""Time to write down that runs go back to the queue."""

SignOfLife = Callable[[], Awaitable[None]]


class Dispatcher:
    """The executions of this process.

    Args:
        desk: what executions work with.
        slots: how many there are at most.
    """

    def __init__(self, desk: Desk, slots: int) -> None:
        self._desk = desk
        self._slots = Slots(slots)
        self._executions: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, run_id: str, in_progress: SignOfLife) -> None:
        """Take the run as soon as a slot is free; return once the claim is durable, or not ours.

        Raises NotFound when nobody asked for such a run, Unavailable when this host is stopping.
        """
        await self._take_slot(in_progress)
        run = None
        try:
            request = await _patiently(lambda: self._desk.runs.request(run_id), in_progress)
            run = await _patiently(lambda: self._claimed(request), in_progress)
        finally:
            if run is None:
                self._slots.release()
        if run is not None:
            self._begin(Execution(self._desk, request, run))

    async def until_free(self) -> None:
        """Return when a slot is free: what is not taken from the stream is left to other hosts."""
        while not self._slots.is_free and not self._slots.ended:
            await self._slots.change()

    def cancel(self, run_id: str) -> None:
        """End a run that is worked on here; others have no effect."""
        execution = self._executions.get(run_id)
        if execution is not None:
            execution.cancel()

    async def requeue(self, run: Run) -> None:
        """Decide what becomes of a run whose holder died."""
        await self._tell(await self._desk.runs.requeue(run))

    async def close(self, grace_seconds: float) -> None:
        """Take nothing more; let runs end for `grace_seconds`, then give the rest back to the queue."""
        self._slots.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for execution in self._executions.values():
            execution.give_back()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._slots.end()

    async def _claimed(self, request: RunRequest) -> Run | None:
        if request.expires_at > utcnow():
            return await self._desk.runs.take(request)
        await self._tell(await self._desk.runs.expire(request))
        return None

    def _begin(self, execution: Execution) -> None:
        self._executions[execution.run_id] = execution
        task = asyncio.create_task(execution.carry_out(), name=f"run {execution.run_id}")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._executions.get(execution.run_id) is execution:
                del self._executions[execution.run_id]
            self._slots.release()

        task.add_done_callback(ended)

    async def _take_slot(self, in_progress: SignOfLife) -> None:
        while not self._slots.take():
            if self._slots.ended:
                raise Unavailable("this runner is stopping")
            await self._slots.change(SIGN_SECONDS)
            await in_progress()

    async def _tell(self, run: Run | None) -> None:
        if run is not None and RUN.is_final(run.state):
            await tell_end(self._desk.bus, run)


async def _patiently(call: Callable[[], Awaitable[T]], in_progress: SignOfLife) -> T:
    """Call until the database answers, so that an outage ends in no dead letter."""
    while True:
        try:
            return await call()
        except Unavailable as error:
            log.warning("will look again", extra={"error": error.message})
        await in_progress()
        await asyncio.sleep(AGAIN_SECONDS)
