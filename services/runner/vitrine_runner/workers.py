"""The pool of workers: sandboxes started on demand, reused while warm, stopped when idle or for room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from vitrine_common.documents import Conditions
from vitrine_common.messages import WarmEnvironment
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.spec import Spec
from vitrine_common.states import Reason
from vitrine_common.telemetry import span
from vitrine_engine import Engine, Sandbox, StartError
from vitrine_runner.bundles import Bundle, Bundles
from vitrine_runner.conditions import conditions_of
from vitrine_runner.errors import RunFault, ServedElsewhere
from vitrine_runner.gpus import Gpus, Grant
from vitrine_runner.loading import load_fault, model_of
from vitrine_runner.permits import Permit, Permits
from vitrine_runner.places import Places
from vitrine_runner.sandboxes import sandbox_spec
from vitrine_runner.settings import RunnerSettings
from vitrine_runner.standing import Standing
from vitrine_runner.starts import Starts
from vitrine_runner.worker import Lent, Need, Worker

__all__ = ["Lent", "Need", "Worker", "WorkerPool"]

log = logging.getLogger(__name__)

PERMIT_SECONDS = 0.5
"""Pause between looks for a worker's permit that another host gives back, which nothing tells here."""


class WorkerPool:
    """Workers of this host.

    A worker is never stopped while a run uses it. Idle time begins when it is ready and free.

    Args:
        engine: makes the sandboxes.
        bundles: the versions' files.
        shelf: the environments of this host.
        settings: limits, room and idle time.
        gpus: the GPUs of this host.
        permits: what other hosts have of a version; without them this host is the only one.
    """

    def __init__(
        self,
        engine: Engine,
        bundles: Bundles,
        shelf: Shelf,
        settings: RunnerSettings,
        *,
        gpus: Gpus | None = None,
        permits: Permits | None = None,
    ) -> None:
        self.gpus = gpus or Gpus(())
        self._permits = permits
        self._engine = engine
        self._bundles = bundles
        self.shelf = shelf
        self._settings = settings
        self._workers: list[Worker] = []
        self._stopping: dict[asyncio.Task[None], Worker] = {}
        self.starts = Starts()
        self.standing = Standing(engine, self._workers)
        self._set_aside = 0
        """Memory of sandboxes that are no workers: the checks of claims."""
        self.places = Places(self._workers)
        self._changed = asyncio.Event()
        self.ahead: Callable[[WarmEnvironment], Awaitable[None]] | None = None
        """Has an environment ready; asked for it while files of a version have yet to be fetched."""
        self._ahead: set[asyncio.Future[None]] = set()
        self.wanted: AbstractSet[Need] | None = None
        """The versions whose `scaling.min` is kept; every one as long as nobody has looked."""

    @property
    def workers(self) -> list[Worker]:
        """The workers that start or live."""
        return list(self._workers)

    @property
    def memory_bytes(self) -> int:
        """What the limits of all workers may sum up to."""
        return self._settings.memory_bytes

    @property
    def memory_free(self) -> int:
        """What new workers may take at once, if idle ones make way."""
        kept = sum(worker.limits.memory for worker in self._living if not worker.makes_way)
        return max(0, self._settings.memory_bytes - kept - self._set_aside)

    def change(self) -> Awaitable[object]:
        """Return what ends when a worker starts, becomes free or stops, from this call on."""
        return self._changed.wait()

    @asynccontextmanager
    async def lent(self, need: Need, *, may_leave: bool = False, alone: bool = False) -> AsyncIterator[Lent]:
        """Have a place in a worker while the block lasts, waiting for room if there is none.

        With `alone` it serves no other run meanwhile; while one waits for that, no others are begun.
        Raises RunFault when the worker cannot be made ready, and, with `may_leave`, ServedElsewhere when
        other hosts have all workers that the version may have.
        """
        worker = await self._taken(need, may_leave=may_leave, alone=alone)
        cold, worker.is_expected = worker.is_expected or not worker.starting.done(), False
        try:
            await asyncio.shield(worker.starting)
            worker.served += 1
            self.starts.note(cold=cold)
            yield Lent(worker, cold)
        finally:
            worker.users -= 1
            worker.is_alone = False
            worker.idle_since = asyncio.get_running_loop().time()
            if worker.starting.done() and not worker.is_ready:
                self._begin_stop(worker)
            self._notify()

    def start_expected(self, need: Need, bundle: Bundle, holds: AsyncExitStack) -> Worker | None:
        """Start a worker, which has `holds`, for a run that is about to come, if there is room for it."""
        limits = self.limits_of(bundle.spec)
        if self._of(need) or limits.gpu or bundle.spec.scaling.max or not self._has_room(limits.memory):
            return None
        worker = self._start(need, bundle, limits, holds.pop_all())
        worker.is_expected, worker.idle_since = True, asyncio.get_running_loop().time()
        worker.users -= 1
        return worker

    def conditions(self, lent: Lent) -> Conditions:
        """Return what a run that was lent this worker runs on."""
        return conditions_of(lent.worker.sandbox, self._engine.name, lent.worker.limits)

    def limits_of(self, spec: Spec) -> SpecLimits:
        """Return what a worker of a version takes of this host."""
        return spec.limits(self._settings.defaults, self._settings.ceiling)

    def has_room_ahead(self, limits: SpecLimits) -> bool:
        """Whether a worker that nobody asked for fits in: nothing makes way for it, and half stays free."""
        kept = [worker for worker in self._living if worker.ahead]
        used = sum(worker.limits.memory for worker in kept)
        return (
            self._has_room(limits.memory)
            and (not limits.gpu or self.gpus.suffice(limits.gpu, limits.gpu_memory))
            and len(kept) + 1 <= max(1, self._settings.max_workers // 2)
            and (not kept or used + limits.memory <= self._settings.memory_bytes // 2)
        )

    async def start_ahead(self, need: Need, holds: AsyncExitStack) -> None:
        """Start a worker that nobody asked for, unless there is no room; return when it is ready.

        It takes over what `holds` holds. Raises RunFault when it cannot be made ready.
        """
        async with AsyncExitStack() as own:
            coming = await own.enter_async_context(self._bundles.coming(need.version_digest))
            bundle = await coming.files()
            limits, most = self.limits_of(bundle.spec), bundle.spec.scaling.max
            permit = await self._permits.take(need, most) if self._permits and most else None
            if self._permits and permit is not None:
                own.push_async_callback(self._permits.give_back, permit)
            if (most and self._permits and permit is None) or not self.has_room_ahead(limits):
                return
            grant = self.gpus.grant(limits.gpu, limits.gpu_memory) if limits.gpu else None
            if limits.gpu and grant is None:
                return
            own.push_async_exit(holds.pop_all())
            worker = self._start(need, bundle, limits, own.pop_all(), grant=grant, permit=permit)
            worker.ahead = True
            worker.users -= 1
        await asyncio.shield(worker.starting)

    @asynccontextmanager
    async def room(self, limits: SpecLimits) -> AsyncIterator[Grant | None]:
        """Set memory and GPUs aside while the block lasts, waiting for room if there is none.

        Idle workers make way. Raises RunFault where the GPUs can never be had.
        """
        self._check_gpus(limits)
        while not self._has_room(limits.memory):
            self._evict_one()
            await self._changed.wait()
        self._set_aside += limits.memory
        grant = None
        try:
            while limits.gpu and (grant := self.gpus.grant(limits.gpu, limits.gpu_memory)) is None:
                self._evict_one(with_gpu=True)
                await self._changed.wait()
            yield grant
        finally:
            self._set_aside -= limits.memory
            if grant is not None:
                self.gpus.give_back(grant)
            self._notify()

    def _check_gpus(self, limits: SpecLimits) -> None:
        if limits.gpu and not self.gpus.suffice(limits.gpu, limits.gpu_memory):
            number, there = limits.gpu, len(self.gpus.devices)
            message = f"The model needs {number} GPU(s) with enough memory, and this machine has {there}."
            raise RunFault(Reason.PLATFORM_ERROR, message)

    async def tend_forever(self) -> None:
        """Stop workers that have been idle for too long, for ever."""
        pause = min(1.0, self._settings.idle_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            self.stop_idle()
            if self.gpus.devices:  # other programs use and free their memory, and nothing tells of it
                self._notify()

    def stop_idle(self) -> None:
        """Begin to stop the workers whose idle time is over; a version keeps its `scaling.min`."""
        now = asyncio.get_running_loop().time()
        for worker in sorted(self._workers, key=lambda worker: worker.idle_since):
            scaling = worker.bundle.spec.scaling
            patience = self._settings.idle_seconds if scaling.idle is None else float(scaling.idle)
            least = scaling.min if self.wanted is None or worker.need in self.wanted else 0
            least = self._permits.kept(worker.need, least) if self._permits else least
            is_kept = worker.is_ready and len(self._of(worker.need)) <= least and not worker.is_retired()
            is_over = not worker.is_ready or worker.is_retired() or now - worker.idle_since >= patience
            if worker.is_idle and is_over and not is_kept:
                self._begin_stop(worker)

    async def aclose(self) -> None:
        """Stop every worker; runs that still use one end as cancelled."""
        for task in self._ahead:
            task.cancel()
        for worker in self.workers:
            self._begin_stop(worker)
        await asyncio.gather(*self._stopping, return_exceptions=True)

    def _of(self, need: Need) -> list[Worker]:
        return [worker for worker in self._workers if worker.need == need]

    async def _taken(self, need: Need, *, may_leave: bool, alone: bool) -> Worker:
        """Take a place in a worker that lives, or in a new one."""
        try:
            with self.places.wished(need, alone=alone):
                worker = self.places.take(need, alone=alone)
                worker = worker or await self._make_room_and_start(need, may_leave=may_leave, alone=alone)
                worker.is_alone = alone
                return worker
        finally:
            if alone:
                self._notify()

    async def _make_room_and_start(self, need: Need, *, may_leave: bool, alone: bool) -> Worker:
        async with AsyncExitStack() as holds:
            coming = await holds.enter_async_context(self._bundles.coming(need.version_digest))
            if not coming.is_here:
                self._get_ready(need)
            bundle = await coming.files()
            limits = self.limits_of(bundle.spec)
            self._check_gpus(limits)
            most = bundle.spec.scaling.max or self._settings.max_workers
            permit = None
            while True:
                worker = self.places.take(need, alone=alone)
                if worker is not None:
                    return worker
                if len(self._of(need)) < most:
                    if self._permits and bundle.spec.scaling.max and permit is None:
                        permit = await self._permitted(self._permits, need, most, holds)
                        if permit is None and may_leave and not self._of(need):
                            raise ServedElsewhere
                        continue  # whatever changed meanwhile is looked at again
                    if not self._has_room(limits.memory):
                        self._evict_one()
                    elif not limits.gpu:
                        return self._start(need, bundle, limits, holds.pop_all(), permit=permit)
                    elif (grant := self.gpus.grant(limits.gpu, limits.gpu_memory)) is not None:
                        return self._start(need, bundle, limits, holds.pop_all(), grant=grant, permit=permit)
                    else:
                        self._evict_one(with_gpu=True)
                await self._changed.wait()

    def _get_ready(self, need: Need) -> None:
        """Begin to have the environment ready while the version's files are fetched."""
        if self.ahead is not None:
            place = WarmEnvironment(environment_digest=need.environment_digest, owner_id=need.owner_id)
            task = asyncio.ensure_future(self.ahead(place))
            self._ahead.add(task)
            task.add_done_callback(self._ahead.discard)

    async def _permitted(
        self, permits: Permits, need: Need, most: int, holds: AsyncExitStack
    ) -> Permit | None:
        """Take a permit for a worker, given back with `holds`; None, a moment later, where there is none."""
        permit = await permits.take(need, most)
        if permit is not None:
            holds.push_async_callback(permits.give_back, permit)
            return permit
        with suppress(TimeoutError):
            async with asyncio.timeout(PERMIT_SECONDS):
                await self._changed.wait()
        return None

    @property
    def _living(self) -> list[Worker]:
        return [*self._workers, *self._stopping.values()]

    def _has_room(self, memory: int) -> bool:
        living = self._living
        used = sum(worker.limits.memory for worker in living) + self._set_aside
        return len(living) < self._settings.max_workers and used + memory <= self._settings.memory_bytes

    def _evict_one(self, *, with_gpu: bool = False) -> None:
        """Begin to stop the least recently used worker that makes way, unless one is stopped already."""
        idle = [worker for worker in self._workers if worker.makes_way and (worker.grant or not with_gpu)]
        if idle and not self._stopping:
            self._begin_stop(min(idle, key=lambda worker: worker.idle_since))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _start(
        self,
        need: Need,
        bundle: Bundle,
        limits: SpecLimits,
        holds: AsyncExitStack,
        *,
        grant: Grant | None = None,
        permit: Permit | None = None,
    ) -> Worker:
        if grant is not None:
            holds.callback(self.gpus.give_back, grant)
        starting = asyncio.create_task(self._sandbox(need, bundle, limits, holds, grant), name="start worker")
        worker = Worker(need, bundle, limits, starting, holds, grant, users=1)
        if permit is not None:
            worker.is_retired = lambda: permit.lost
        self._workers.append(worker)
        starting.add_done_callback(lambda _: self._started(worker))
        return worker

    def _started(self, worker: Worker) -> None:
        worker.idle_since = asyncio.get_running_loop().time()
        if not worker.is_ready:
            self._begin_stop(worker)
        self._notify()

    async def _sandbox(
        self,
        need: Need,
        bundle: Bundle,
        limits: SpecLimits,
        holds: AsyncExitStack,
        grant: Grant | None,
    ) -> Sandbox:
        with span("start worker", version_digest=need.version_digest):
            try:
                await holds.enter_async_context(self.shelf.held(need.environment_digest))
            except EnvironmentGone as error:
                raise RunFault(Reason.PLATFORM_ERROR, error.message) from error
            try:
                spec = sandbox_spec(self.shelf, self._settings, need, bundle, limits, grant)
                sandbox = await self._engine.start(spec)
            except (StartError, ValueError) as error:
                message = f"No sandbox could be started on this host: {error}"
                raise RunFault(Reason.PLATFORM_ERROR, message) from error
            try:
                loaded = await sandbox.load(model_of(bundle))
            except BaseException as error:
                await sandbox.stop()
                raise load_fault(error) from error
        told = {"version_digest": need.version_digest, "load_ms": loaded.milliseconds}
        log.info("worker started", extra={"worker": sandbox.id, **told})
        return sandbox

    def _begin_stop(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        task = asyncio.create_task(self._stop(worker), name="stop worker")
        self._stopping[task] = worker
        task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        worker = self._stopping.pop(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("worker %s did not stop well", worker.need.version_digest, exc_info=task.exception())
        self._notify()

    async def _stop(self, worker: Worker) -> None:
        async with worker.holds:
            worker.starting.cancel()
            (started,) = await asyncio.gather(worker.starting, return_exceptions=True)
            if not isinstance(started, BaseException):
                await started.stop()
                log.info("worker stopped", extra={"worker": started.id})
