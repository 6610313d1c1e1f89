"""The pool of workers: sandboxes started on demand, reused while warm, stopped when idle or for room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from vitrine_common.documents import Conditions
from vitrine_common.environments import image_reference, system_root
from vitrine_common.errors import Invalid
from vitrine_common.ids import new_id
from vitrine_common.shelf import EnvironmentGone, Shelf
from vitrine_common.spec import Limits as SpecLimits
from vitrine_common.states import Reason
from vitrine_common.telemetry import span
from vitrine_engine import (
    Engine,
    Limits,
    LoadError,
    OnnxModel,
    Sandbox,
    SandboxGoneError,
    SandboxSpec,
    ScriptModel,
    StartError,
)
from vitrine_runner.bundles import Bundle, Bundles
from vitrine_runner.conditions import conditions_of
from vitrine_runner.errors import RunFault
from vitrine_runner.settings import RunnerSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """What a run needs a worker for: one owner's version in one environment."""

    version_digest: str
    environment_digest: str
    owner_id: str


@dataclass(eq=False)
class Worker:
    """One sandbox that serves one version only. `starting` ends when it is ready, or raises RunFault."""

    need: Need
    bundle: Bundle
    limits: SpecLimits
    starting: asyncio.Task[Sandbox]
    holds: AsyncExitStack
    users: int = 0
    idle_since: float = field(default=0.0)

    @property
    def is_ready(self) -> bool:
        """Whether the sandbox can take a run now."""
        return self._started and self.starting.result().alive

    @property
    def is_idle(self) -> bool:
        """Whether it is ready, or dead, and nobody uses it."""
        return self._started and not self.users

    @property
    def has_place(self) -> bool:
        """Whether one more run fits in, now or as soon as it is ready."""
        usable = not self.starting.done() or self.is_ready
        return usable and self.users < self.bundle.spec.scaling.concurrency

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox of a worker that has been started."""
        return self.starting.result()

    @property
    def _started(self) -> bool:
        return self.starting.done() and not self.starting.cancelled() and self.starting.exception() is None


@dataclass(frozen=True)
class Lent:
    """A worker's place for one run; `cold` when the run had to wait for the worker's start."""

    worker: Worker
    cold: bool


class WorkerPool:
    """Workers of this host.

    A worker is never stopped while a run uses it. Idle time begins when it is ready and free.

    Args:
        engine: makes the sandboxes.
        bundles: the versions' files.
        shelf: the environments of this host.
        settings: limits, room and idle time.
    """

    def __init__(self, engine: Engine, bundles: Bundles, shelf: Shelf, settings: RunnerSettings) -> None:
        self._engine = engine
        self._bundles = bundles
        self.shelf = shelf
        self._settings = settings
        self._workers: list[Worker] = []
        self._stopping: dict[asyncio.Task[None], Worker] = {}
        self._set_aside = 0
        """Memory of sandboxes that are no workers: the checks of claims."""
        self._changed = asyncio.Event()

    @property
    def workers(self) -> list[Worker]:
        """The workers that start or live."""
        return list(self._workers)

    @asynccontextmanager
    async def lent(self, need: Need) -> AsyncIterator[Lent]:
        """Have a place in a worker while the block lasts, waiting for room if there is none.

        Raises RunFault when the worker cannot be made ready.
        """
        worker = self._reserved(need) or await self._make_room_and_start(need)
        cold = not worker.starting.done()
        try:
            await asyncio.shield(worker.starting)
            yield Lent(worker, cold)
        finally:
            worker.users -= 1
            worker.idle_since = asyncio.get_running_loop().time()
            if worker.starting.done() and not worker.is_ready:
                self._begin_stop(worker)
            self._notify()

    def conditions(self, lent: Lent) -> Conditions:
        """Return what a run that was lent this worker runs on."""
        return conditions_of(lent.worker.sandbox, self._engine.name, lent.worker.limits)

    @asynccontextmanager
    async def room(self, memory: int) -> AsyncIterator[None]:
        """Set `memory` bytes aside while the block lasts, waiting for room if there is none.

        Idle workers make way.
        """
        while not self._has_room(memory):
            self._evict_one()
            await self._changed.wait()
        self._set_aside += memory
        try:
            yield
        finally:
            self._set_aside -= memory
            self._notify()

    async def tend_forever(self) -> None:
        """Stop workers that have been idle for too long, for ever."""
        pause = min(1.0, self._settings.idle_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            self.stop_idle()

    def stop_idle(self) -> None:
        """Begin to stop the workers whose idle time is over; a version keeps its `scaling.min`."""
        now = asyncio.get_running_loop().time()
        for worker in sorted(self._workers, key=lambda worker: worker.idle_since):
            scaling = worker.bundle.spec.scaling
            patience = self._settings.idle_seconds if scaling.idle is None else float(scaling.idle)
            is_kept = worker.is_ready and len(self._of(worker.need)) <= scaling.min
            is_over = not worker.is_ready or now - worker.idle_since >= patience
            if worker.is_idle and is_over and not is_kept:
                self._begin_stop(worker)

    async def aclose(self) -> None:
        """Stop every worker; runs that still use one end as cancelled."""
        for worker in self.workers:
            self._begin_stop(worker)
        await asyncio.gather(*self._stopping, return_exceptions=True)

    def _of(self, need: Need) -> list[Worker]:
        return [worker for worker in self._workers if worker.need == need]

    def _reserved(self, need: Need) -> Worker | None:
        """Take the best place: in a ready worker, and of these in the one used last."""
        places = [worker for worker in self._of(need) if worker.has_place]
        best = max(places, key=lambda worker: (worker.is_ready, worker.idle_since), default=None)
        if best is not None:
            best.users += 1
        return best

    async def _make_room_and_start(self, need: Need) -> Worker:
        async with AsyncExitStack() as holds:
            bundle = await holds.enter_async_context(self._bundles.held(need.version_digest))
            limits = bundle.spec.limits(self._settings.defaults, self._settings.ceiling)
            most = bundle.spec.scaling.max or self._settings.max_workers
            while True:
                worker = self._reserved(need)
                if worker is not None:
                    return worker
                if len(self._of(need)) < most:
                    if self._has_room(limits.memory):
                        return self._start(need, bundle, limits, holds.pop_all())
                    self._evict_one()
                await self._changed.wait()

    def _has_room(self, memory: int) -> bool:
        living = [*self._workers, *self._stopping.values()]
        used = sum(worker.limits.memory for worker in living) + self._set_aside
        return len(living) < self._settings.max_workers and used + memory <= self._settings.memory_bytes

    def _evict_one(self) -> None:
        """Begin to stop the least recently used idle worker, unless one is being stopped already."""
        idle = [worker for worker in self._workers if worker.is_idle]
        if idle and not self._stopping:
            self._begin_stop(min(idle, key=lambda worker: worker.idle_since))

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _start(self, need: Need, bundle: Bundle, limits: SpecLimits, holds: AsyncExitStack) -> Worker:
        starting = asyncio.create_task(self._sandbox(need, bundle, limits, holds), name="start worker")
        worker = Worker(need, bundle, limits, starting, holds, users=1)
        self._workers.append(worker)
        starting.add_done_callback(lambda _: self._started(worker))
        return worker

    def _started(self, worker: Worker) -> None:
        worker.idle_since = asyncio.get_running_loop().time()
        if not worker.is_ready:
            self._begin_stop(worker)
        self._notify()

    async def _sandbox(
        self, need: Need, bundle: Bundle, limits: SpecLimits, holds: AsyncExitStack
    ) -> Sandbox:
        with span("start worker", version_digest=need.version_digest):
            try:
                await holds.enter_async_context(self.shelf.held(need.environment_digest))
            except EnvironmentGone as error:
                raise RunFault(Reason.PLATFORM_ERROR, error.message) from error
            try:
                sandbox = await self._engine.start(self.spec_of(need, bundle, limits))
            except (StartError, ValueError) as error:
                message = f"No sandbox could be started on this host: {error}"
                raise RunFault(Reason.PLATFORM_ERROR, message) from error
            try:
                loaded = await sandbox.load(model_of(bundle))
            except BaseException as error:
                await sandbox.stop()
                raise _load_fault(error) from error
        log.info(
            "worker started",
            extra={
                "worker": sandbox.id,
                "version_digest": need.version_digest,
                "load_ms": loaded.milliseconds,
            },
        )
        return sandbox

    def spec_of(self, need: Need, bundle: Bundle, limits: SpecLimits) -> SandboxSpec:
        """Return what a sandbox of a version is made of, whose environment is held; raises RunFault."""
        environment = self.shelf.path(need.environment_digest)
        try:
            system = system_root(self.shelf.directory, environment)
        except Invalid as error:
            raise RunFault(Reason.PLATFORM_ERROR, str(error)) from error
        return SandboxSpec(
            id=new_id("worker"),
            environment=environment,
            image=image_reference(need.environment_digest),
            system=system,
            bundle=bundle.directory,
            owner=need.owner_id,
            limits=Limits(
                memory_bytes=limits.memory,
                cpus=limits.cpu,
                processes=limits.processes,
                disk_bytes=limits.disk,
                output_bytes=self._settings.output_bytes,
                log_bytes=self._settings.log_bytes,
                wall_seconds=limits.timeout,
            ),
            binds=self._settings.binds,
            gpu=limits.gpu > 0,
            max_runs=bundle.spec.scaling.concurrency,
        )

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


def model_of(bundle: Bundle) -> OnnxModel | ScriptModel:
    """Return what a sandbox is told to load."""
    if not bundle.is_onnx:
        return ScriptModel()
    form = bundle.form
    return OnnxModel(path=form["onnx"], inputs=form["inputs"], outputs=form["outputs"])


def _load_fault(error: BaseException) -> BaseException:
    if isinstance(error, LoadError):
        return RunFault(Reason(error.reason.value), f"The model cannot be loaded: {error}")
    if isinstance(error, SandboxGoneError):
        return RunFault(Reason.PLATFORM_ERROR, f"The sandbox ended while it loaded the model: {error}")
    return error
