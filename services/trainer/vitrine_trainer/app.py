"""Wiring of the trainer."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from vitrine_common.documents import Trial
from vitrine_common.leases import reap_forever
from vitrine_common.service import Platform, needed, run_service
from vitrine_common.shelf import Shelf, open_shelf
from vitrine_engine import Engine, StartError, open_engine
from vitrine_trainer.gpus import Gpus
from vitrine_trainer.handlers import router
from vitrine_trainer.intake import Intake
from vitrine_trainer.repository import Trials
from vitrine_trainer.settings import TrainerSettings
from vitrine_trainer.training import Training
from vitrine_trainer.worker import Worker

log = logging.getLogger(__name__)


def main() -> None:
    """Run the trainer until SIGTERM or SIGINT."""
    run_service("trainer", [router], use)


@asynccontextmanager
async def use(platform: Platform) -> AsyncIterator[None]:
    """Wire the trainer's parts to a connected platform and let them work within the block."""
    # Sandboxes read what is fetched here, under user ids of their own.
    os.umask(0o022)
    settings = TrainerSettings()
    # What a killed trainer fetched is of no use: a trial that is begun anew fetches its source anew.
    shutil.rmtree(settings.state_dir / "sources", ignore_errors=True)
    place = settings.state_dir / "engine"
    with needed(StartError):
        engine, isolation = await open_engine(settings.engine, place, settings.base_image)
    log.info("isolation", extra=asdict(isolation))
    platform.bus.report["isolation"] = asdict(isolation)
    try:
        async with open_shelf(platform) as shelf, _working(platform, settings, engine, shelf):
            yield
    finally:
        await engine.aclose()


@asynccontextmanager
async def _working(
    platform: Platform, settings: TrainerSettings, engine: Engine, shelf: Shelf
) -> AsyncIterator[None]:
    """Train what is asked for while the block lasts."""
    trials = Trials(platform.database, platform.holder, platform.work.lease_seconds)
    training = Training(engine, shelf, platform.blobs, trials, Gpus(), settings)
    worker = Worker(
        trials,
        training,
        platform.bus,
        platform.blobs,
        slots=settings.slots,
        look_seconds=settings.look_seconds,
    )
    context = platform.bus.broker.context
    context.set_global("trials", trials)
    context.set_global("worker", worker)
    context.set_global("bus", platform.bus)
    intake = Intake(trials, platform.blobs, worker)
    context.set_global("intake", intake)
    platform.background(intake.catch_up_forever(), "intake")

    async def requeue(trial: Trial) -> None:
        await trials.requeue(trial, settings.max_attempts)
        worker.wake()

    platform.background(reap_forever(trials.queue, requeue, platform.work.reap_seconds), "reaper")
    working = platform.background(worker.run(), "worker")
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
