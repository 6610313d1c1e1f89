"""The worker: takes queued builds, a few at a time, and carries each to its end under a lease."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from vitrine_builder.broadcast import broadcast
from vitrine_builder.builds import Recipe
from vitrine_builder.failures import BuildFailure, FailureReason
from vitrine_builder.materialise import Materialised
from vitrine_builder.progress import Report, Step, Stopwatch
from vitrine_builder.repository import Builds
from vitrine_common.bus import Bus
from vitrine_common.documents import Build
from vitrine_common.errors import StaleState
from vitrine_common.messages import EnvironmentRequest
from vitrine_common.telemetry import correlation, correlation_id, inject, span

log = logging.getLogger(__name__)


class Worker:
    """Carries out builds.

    The database is the queue: a message only wakes the worker, so a build is found again whatever was
    killed when.

    Args:
        concurrency: builds at a time.
        max_claims: how often a build is begun whose builders died, before it is given up.
        pause_seconds: between two looks for builds that no message told of.
    """

    def __init__(
        self,
        builds: Builds,
        recipe: Recipe,
        bus: Bus,
        *,
        concurrency: int,
        max_claims: int,
        pause_seconds: float,
    ) -> None:
        self._builds = builds
        self._recipe = recipe
        self._bus = bus
        self._concurrency = concurrency
        self._max_claims = max_claims
        self._pause_seconds = pause_seconds
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, build_id: str, request: EnvironmentRequest) -> None:
        """Write a build down and begin soon; asking again changes nothing."""
        await self._builds.add(
            Build(id=build_id, request=request, trace=inject(), correlation_id=correlation_id())
        )
        self._wake.set()

    async def erase(self, build_id: str) -> None:
        """Delete a build whose version is gone. Idempotent."""
        await self._builds.erase(build_id)

    async def run(self) -> None:
        """Work until cancelled; builds under way are then given back for another builder."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._take()
                except Exception:
                    log.exception("looking for builds failed; again in a moment")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_seconds):
                        await self._wake.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> None:
        free = self._concurrency - len(self._tasks)
        if free <= 0:
            return
        for queued in await self._builds.queued(free):
            build = await self._builds.claim(queued.id)
            if build is not None:
                task = asyncio.create_task(self._carry_out(build), name=build.id)
                self._tasks.add(task)
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("build %s was left to the reaper", task.get_name(), exc_info=task.exception())

    async def _carry_out(self, build: Build) -> None:
        try:
            with correlation(build.correlation_id), span("build", parent=build.trace, build=build.id):
                async with self._builds.held(build), broadcast(self._bus, self._builds, build) as report:
                    await self._end(build, report)
        except StaleState:
            log.warning("build was taken over", extra={"build": build.id})
        except asyncio.CancelledError:
            await self._builds.give_back(build)
            raise

    async def _end(self, build: Build, report: Report) -> None:
        watch = Stopwatch()
        try:
            with watch.measure("total"):
                environment = await self._make(build, report, watch)
        except BuildFailure as failure:
            log.info("build failed", extra={"build": build.id, "reason": failure.reason.value})
            await self._builds.fail(build, failure, watch.milliseconds)
            report(Step("failed", failure.sentence))
        else:
            await self._builds.succeed(build, environment, watch.milliseconds)
            report(Step("done", environment.digest, environment.packages, environment.packages, "packages"))

    async def _make(self, build: Build, report: Report, watch: Stopwatch) -> Materialised:
        if build.attempt > self._max_claims:
            sentence = f"The builder died {self._max_claims} times over this environment; tell the operator."
            raise BuildFailure(FailureReason.INTERNAL, sentence)
        return await self._recipe.make(build.request, report, watch)
