"""Workers for runs that are about to be asked for: the api tells of a run before it has stored it.

Meanwhile the worker starts, and a script's cell is made, so that little of it is left to wait for when the
run is there. That costs no other version its place: what is expected makes way also while it starts. A run
that never comes costs a worker's idle time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress

from vitrine_runner.bundles import Bundles
from vitrine_runner.errors import RunFault
from vitrine_runner.placement import Placement
from vitrine_runner.slots import Slots
from vitrine_runner.workers import Need, WorkerPool

log = logging.getLogger(__name__)


class Expecting:
    """Gets ready what runs will need that were told of.

    Args:
        pool: starts the workers.
        bundles: the versions' files; they and the environment are not fetched for what is only expected.
        placement: whether this host would be the one.
        slots: with none free, runs wait anyway.
    """

    def __init__(self, pool: WorkerPool, bundles: Bundles, placement: Placement, slots: Slots) -> None:
        self._pool = pool
        self._bundles = bundles
        self._placement = placement
        self._slots = slots
        self._tasks: dict[Need, asyncio.Task[None]] = {}

    def expect(self, need: Need) -> None:
        """Begin to get ready for a run, if it would probably be served here; returns at once."""
        if need in self._tasks or not self._slots.is_free or not self._placement.is_best(need):
            return
        task = asyncio.create_task(self._get_ready(need), name="worker ahead")
        self._tasks[need] = task
        task.add_done_callback(lambda ended: self._ended(need, ended))

    async def aclose(self) -> None:
        """Get nothing ready any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, need: Need, task: asyncio.Task[None]) -> None:
        self._tasks.pop(need, None)
        if not task.cancelled() and task.exception() is not None:
            log.warning("no worker was got ready ahead", exc_info=task.exception())

    async def _is_here(self, need: Need) -> bool:
        """Whether all that a worker starts from is on this host."""
        place = self._pool.shelf.path(need.environment_digest)
        return self._bundles.has(need.version_digest) and await asyncio.to_thread(place.is_dir)

    async def _get_ready(self, need: Need) -> None:
        living = [worker for worker in self._pool.workers if worker.need == need]
        worker = max(living, key=lambda worker: worker.idle_since, default=None)
        if worker is None and await self._is_here(need):
            # What is wrong with the version is told to the run, when it comes.
            with suppress(RunFault):
                async with AsyncExitStack() as holds:
                    coming = await holds.enter_async_context(self._bundles.coming(need.version_digest))
                    worker = self._pool.start_expected(need, await coming.files(), holds)
        if worker is not None and not worker.users:
            with suppress(RunFault):
                sandbox = await asyncio.shield(worker.starting)
                await sandbox.expect_run()
