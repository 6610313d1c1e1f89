"""Ending runs that are no longer wanted, whether they wait or work."""

from __future__ import annotations

import asyncio
import logging

from vitrine_common.bus import Bus
from vitrine_common.documents import RunRequest
from vitrine_common.messages import RunCancelling
from vitrine_common.states import RUN
from vitrine_runner.live import tell_state
from vitrine_runner.repository import Runs

log = logging.getLogger(__name__)

EXPIRE_SECONDS = 20.0
LOOK_BACK_SECONDS = 600.0
"""What expired earlier was seen by an earlier look, or by whoever took its message."""


class Cancellation:
    """Cancels runs wherever they are.

    Args:
        runs: where the wish is written down.
        bus: carries it to the host that works on the run.
    """

    def __init__(self, runs: Runs, bus: Bus) -> None:
        self._runs = runs
        self._bus = bus

    async def cancel_run(self, run_id: str) -> None:
        """Cancel one run; one that is over stays as it is. Raises NotFound."""
        await self._cancel(await self._runs.request(run_id))

    async def expire_overdue(self) -> int:
        """End the runs that waited for too long and that no message tells of any more; return how many."""
        number = 0
        for request in await self._runs.overdue(LOOK_BACK_SECONDS):
            if (run := await self._runs.expire(request)) is not None:
                await tell_state(self._bus, run)
                number += 1
        return number

    async def expire_forever(self) -> None:
        """Look for overdue runs again and again, until cancelled."""
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            try:
                await self.expire_overdue()
            except Exception:
                log.exception("overdue runs will be looked for again")

    async def cancel_link(self, link_id: str) -> None:
        """Cancel every run of a share link that waits or works."""
        number = 0
        async for request in self._runs.unfinished_of_link(link_id):
            await self._cancel(request)
            number += 1
        if number:
            log.info("link revoked", extra={"link": link_id, "runs": number})

    async def _cancel(self, request: RunRequest) -> None:
        run = await self._runs.cancel(request)
        if run is None:
            return
        if RUN.is_final(run.state):
            await tell_state(self._bus, run)
        else:
            # Written down already: should this be lost, the holder's next heartbeat sees it.
            await self._bus.tell(RunCancelling(run_id=run.id))
