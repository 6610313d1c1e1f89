"""Wiring of the runner."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from vitrine_common.fleet import Fleet
from vitrine_common.freight import Carriage
from vitrine_common.leases import reap_forever
from vitrine_common.service import Platform, needed, run_service
from vitrine_common.shelf import Shelf, open_shelf
from vitrine_engine import Engine, Isolation, StartError, open_engine
from vitrine_runner.beating import Heartbeat
from vitrine_runner.bundles import Bundles, Datasets
from vitrine_runner.call_book import CallBook
from vitrine_runner.calling import Calling
from vitrine_runner.cancellation import Cancellation
from vitrine_runner.claims import ClaimCancellation, ClaimWorker
from vitrine_runner.claims_execution import ClaimDesk
from vitrine_runner.claims_view import Viewer
from vitrine_runner.dispatch import Dispatcher
from vitrine_runner.erasing import Eraser
from vitrine_runner.execution import Desk
from vitrine_runner.expecting import Expecting
from vitrine_runner.figures import Figures
from vitrine_runner.gpus import find_gpus
from vitrine_runner.handlers import make_routers
from vitrine_runner.keeping import Keeping
from vitrine_runner.least import LeastWorkers
from vitrine_runner.permits import Permits
from vitrine_runner.placement import Placement
from vitrine_runner.repository import Checks, Runs
from vitrine_runner.settings import RunnerSettings, cpu_count
from vitrine_runner.warming import Warming
from vitrine_runner.workers import WorkerPool

log = logging.getLogger(__name__)


def main() -> None:
    """Run the runner until SIGTERM or SIGINT."""
    settings = RunnerSettings()
    run_service("runner", make_routers(gpu=settings.takes_gpu_runs), partial(use, settings=settings))


@asynccontextmanager
async def use(
    platform: Platform, settings: RunnerSettings, engine: Engine | None = None
) -> AsyncIterator[None]:
    """Wire the runner's parts to a connected platform and let them work within the block.

    Args:
        platform: the connections.
        settings: of this host.
        engine: where user code runs, closed with the block; the settings' engine without it.
    """
    async with AsyncExitStack() as parts:
        parts.enter_context(_own_directory(settings.state_dir))
        if engine is None:
            place = settings.state_dir / "engine"
            with needed(StartError):
                engine, isolation = await open_engine(
                    settings.engine,
                    place,
                    settings.base_image,
                    bundles=settings.bundles_dir,
                    zygotes=settings.zygotes,
                )
        else:
            isolation = await engine.probe()
        parts.push_async_callback(engine.aclose)
        _announce(isolation, settings)
        platform.bus.report["isolation"] = asdict(isolation)
        bundles = Bundles(settings.bundles_dir, platform.blobs, settings.bundle_cache_bytes)
        await asyncio.to_thread(bundles.open)
        parts.push_async_callback(bundles.aclose)
        fleet = Fleet()
        shelf = await parts.enter_async_context(open_shelf(platform))
        permits = Permits(platform.database, fleet, platform.holder, platform.work.lease_seconds)
        platform.background(permits.renew_forever(), "permits")
        pool = _pool(settings, engine, bundles, permits, shelf)
        keeping = Keeping(LeastWorkers(platform.database), pool, permits, fleet, platform.holder)
        parts.push_async_callback(pool.aclose)
        work = platform.work
        runs = Runs(platform.database, platform.holder, work.lease_seconds, settings.max_attempts)
        desk = Desk(
            runs, pool, platform.blobs, platform.bus, settings.state_dir / "runs", settings.retry_seconds
        )
        placement = Placement(pool, fleet, platform.holder, settings.run_memory_bytes)
        dispatcher = Dispatcher(desk, settings.slots, settings.devices, placement)
        heartbeat = Heartbeat(platform.bus, platform.holder, dispatcher, pool)
        figures = Figures(engine, pool, dispatcher)
        figures.export()
        platform.bus.describe = figures.told
        parts.push_async_callback(heartbeat.leave)
        parts.push_async_callback(dispatcher.close, settings.stop_seconds)
        await parts.enter_async_context(
            _told_ahead(platform, Expecting(pool, bundles, placement, dispatcher.slots))
        )
        context = platform.bus.broker.context
        context.set_global("dispatcher", dispatcher)
        cancellation = Cancellation(runs, platform.bus)
        context.set_global("cancellation", cancellation)
        context.set_global("recording", CallBook(runs, platform.bus))
        context.set_global("pool", pool)
        context.set_global("fleet", fleet)
        platform.background(reap_forever(runs.queue, dispatcher.requeue, work.reap_seconds), "reaper")
        platform.background(dispatcher.serve_forever(), "queue")
        platform.background(heartbeat.tell_forever(), "heartbeat")
        platform.background(pool.tend_forever(), "worker pool")
        platform.background(cancellation.expire_forever(), "expiry")
        await parts.enter_async_context(_checking(platform, settings, engine, bundles, pool))
        await parts.enter_async_context(_calling(platform, settings, pool))
        await parts.enter_async_context(
            _ready_ahead(platform, Warming(engine, pool.shelf, pool, settings), keeping)
        )
        yield


@asynccontextmanager
async def _told_ahead(platform: Platform, expecting: Expecting) -> AsyncIterator[None]:
    """Get ready for runs that the api tells of, while the block lasts."""
    platform.bus.broker.context.set_global("expecting", expecting)
    try:
        yield
    finally:
        await expecting.aclose()


@asynccontextmanager
async def _calling(platform: Platform, settings: RunnerSettings, pool: WorkerPool) -> AsyncIterator[None]:
    """Answer synchronous calls while the block lasts."""
    shared = platform.settings.shared_dir
    carriage = Carriage(shared, platform.blobs)
    calling = Calling(
        pool, carriage, shared, holder=platform.holder, cores=cpu_count(), queue=settings.call_queue
    )
    await calling.open(platform.bus.client, gpu=settings.takes_gpu_runs)
    platform.background(calling.tend_forever(), "workers for calls")
    try:
        yield
    finally:
        await calling.close(settings.stop_seconds)


@asynccontextmanager
async def _ready_ahead(platform: Platform, warming: Warming, keeping: Keeping) -> AsyncIterator[None]:
    """Have environments and workers ready that nobody asked for yet, while the block lasts."""
    context = platform.bus.broker.context
    context.set_global("warming", warming)
    context.set_global("keeping", keeping)
    platform.background(warming.keep_forever(), "environments ready ahead")
    platform.background(keeping.keep_forever(), "workers ready ahead")
    try:
        yield
    finally:
        await keeping.close()


def _pool(
    settings: RunnerSettings,
    engine: Engine,
    bundles: Bundles,
    permits: Permits,
    shelf: Shelf,
) -> WorkerPool:
    """Return the pool of workers, with this host's GPUs and its share of what the fleet may have."""
    gpus = find_gpus(wanted=settings.takes_gpu_runs, certain=settings.gpu == "on")
    return WorkerPool(engine, bundles, shelf, settings, gpus=gpus, permits=permits)


@asynccontextmanager
async def _checking(
    platform: Platform, settings: RunnerSettings, engine: Engine, bundles: Bundles, pool: WorkerPool
) -> AsyncIterator[None]:
    """Check claims while the block lasts."""
    datasets = Datasets(settings.state_dir / "datasets", platform.blobs, settings.bundle_cache_bytes)
    await asyncio.to_thread(datasets.open)
    work = platform.work
    checks = Checks(platform.database, platform.holder, work.lease_seconds, settings.max_attempts)
    desk = ClaimDesk(
        checks=checks,
        engine=engine,
        pool=pool,
        bundles=bundles,
        viewer=Viewer(datasets, platform.blobs),
        bus=platform.bus,
        folder=settings.state_dir / "checks",
        settings=settings,
    )
    worker = ClaimWorker(desk, settings.devices, settings.claim_slots)
    context = platform.bus.broker.context
    context.set_global("claims", worker)
    context.set_global("claim_cancellation", ClaimCancellation(desk))
    platform.background(reap_forever(checks.queue, worker.requeue, work.reap_seconds), "reaper of checks")
    platform.background(worker.catch_up_forever(), "intake of checks")
    runs = Runs(platform.database, platform.holder, work.lease_seconds, settings.max_attempts)
    eraser = Eraser(platform.database, runs, checks, bundles, datasets)
    context.set_global("eraser", eraser)
    await eraser.catch_up()
    working = platform.background(worker.run(), "checks")
    try:
        yield
    finally:
        working.cancel()
        await worker.close()
        await datasets.aclose()


@contextmanager
def _own_directory(path: Path) -> Iterator[None]:
    """Make the state directory, keep other runners out of it, and clear what a killed one left."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"{path} belongs to another runner; give this one its own VITRINE_RUNNER_STATE_DIR"
            raise RuntimeError(message) from error
        _clear(path)
        yield
        _clear(path)
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    for name in ("runs", "checks"):
        shutil.rmtree(path / name, ignore_errors=True)


def _announce(isolation: Isolation, settings: RunnerSettings) -> None:
    """Say what keeps the runs of strangers apart on this machine, and loudly what does not."""
    log.info(
        "sandboxes: %s with %s namespaces, %s user ids, memory by %s, processes by %s, cpu by %s, "
        "seccomp %s, private directories by %s",
        isolation.engine,
        ", ".join(isolation.namespaces),
        isolation.user_ids,
        isolation.memory,
        isolation.processes,
        isolation.cpu,
        "on" if isolation.seccomp else "OFF",
        isolation.work_directory,
        extra={
            "slots": settings.slots,
            "gpu": settings.takes_gpu_runs,
            "memory_bytes": settings.memory_bytes,
        },
    )
    for warning in isolation.warnings:
        log.warning("ISOLATION: %s", warning)
    for bind in settings.binds:
        log.warning("every sandbox sees %s at %s%s", bind.source, bind.target, " (writable)" * bind.writable)
