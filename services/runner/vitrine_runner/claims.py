"""The checks of claims on this host: taken when a slot is free, ended when nobody wants them any more.

The database is the queue and a message only wakes the worker: checks may take hours, and no message can
be held that long. They have slots of their own, so that they keep no visitor's run waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from vitrine_common.bus import Bus
from vitrine_common.documents import ClaimCheck
from vitrine_common.messages import ClaimCancelling
from vitrine_common.states import CLAIM_CHECK, ClaimState
from vitrine_runner.claims_execution import CheckExecution, ClaimDesk
from vitrine_runner.live import ClaimFeed

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
CATCH_UP_SECONDS = 60.0
LOOK_BACK_SECONDS = 24 * 3600.0


class ClaimWorker:
    """Carries out checks.

    Args:
        desk: what they work with.
        devices: the kinds of check that this host takes.
        slots: checks at a time.
    """

    def __init__(self, desk: ClaimDesk, devices: Sequence[str], slots: int) -> None:
        self._desk = desk
        self._devices = devices
        self._slots = slots
        self._wake = asyncio.Event()
        self._closing = False
        self._executions: dict[str, CheckExecution] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, check_id: str) -> None:
        """Write a check down and look for work. Raises NotFound."""
        await self._desk.checks.accept(check_id)
        self._wake.set()

    def cancel(self, check_id: str) -> None:
        """End a check that is worked on here; others have no effect."""
        if (execution := self._executions.get(check_id)) is not None:
            execution.cancel()

    async def run(self) -> None:
        """Take checks until cancelled."""
        while True:
            self._wake.clear()
            try:
                for ended in await self._desk.checks.expire_overdue():
                    await tell_check_end(self._desk.bus, ended)
                await self._take()
            except Exception:
                log.exception("checks will be looked for again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def catch_up_forever(self) -> None:
        """Take in, until cancelled, what no message tells of any more."""
        while True:
            await asyncio.sleep(CATCH_UP_SECONDS)
            try:
                for check_id in await self._desk.checks.forgotten(LOOK_BACK_SECONDS, CATCH_UP_SECONDS):
                    log.warning("taken in without its message", extra={"check": check_id})
                    await self.accept(check_id)
            except Exception:
                log.exception("forgotten checks will be looked for again")

    async def requeue(self, check: ClaimCheck) -> None:
        """Decide what becomes of a check whose holder died."""
        moved = await self._desk.checks.requeue(check)
        if moved is not None and CLAIM_CHECK.is_final(moved.state):
            await tell_check_end(self._desk.bus, moved)
        self._wake.set()

    async def close(self) -> None:
        """Take nothing more and give what is worked on back to the queue."""
        self._closing = True
        for execution in list(self._executions.values()):
            execution.give_back()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> None:
        free = self._slots - len(self._tasks)
        for waiting in await self._desk.checks.waiting(self._devices, free) if free > 0 else ():
            if self._closing:
                return
            request = await self._desk.checks.request(waiting.id)
            check = await self._desk.checks.take(waiting)
            if check is not None:
                self._begin(CheckExecution(self._desk, request, check), check.id)

    def _begin(self, execution: CheckExecution, check_id: str) -> None:
        self._executions[check_id] = execution
        task = asyncio.create_task(execution.carry_out(), name=f"check {check_id}")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._executions.get(check_id) is execution:
                del self._executions[check_id]
            self._wake.set()

        task.add_done_callback(ended)


class ClaimCancellation:
    """Cancels checks wherever they are.

    Args:
        desk: where the wish is written down, and the bus that carries it.
    """

    def __init__(self, desk: ClaimDesk) -> None:
        self._checks = desk.checks
        self._bus = desk.bus

    async def cancel(self, check_id: str) -> None:
        """Cancel one check; one that is over stays as it is. Raises NotFound."""
        check = await self._checks.cancel(check_id)
        if check is None:
            return
        if check.state is ClaimState.CANCELLED:
            await tell_check_end(self._bus, check)
        else:
            # Written down already: should this be lost, the holder's next heartbeat sees it.
            await self._bus.tell(ClaimCancelling(check_id=check_id))

    async def cancel_link(self, link_id: str) -> None:
        """Cancel every check of a share link that waits or works."""
        for check_id in await self._checks.unfinished_of_link(link_id):
            await self.cancel(check_id)


async def tell_check_end(bus: Bus, check: ClaimCheck) -> None:
    """Tell whoever watches that a check is over; for those that ended without being worked on."""
    await ClaimFeed(bus, check.id, 1).state(check.state, check.message)
