"""Wiring of the monitor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vitrine_common.service import Platform, run_service
from vitrine_monitor.catching_up import CatchUp
from vitrine_monitor.handlers import router
from vitrine_monitor.repository import ScoringRepository
from vitrine_monitor.settings import MonitorSettings

log = logging.getLogger(__name__)


async def _sweep_forever(repository: ScoringRepository, settings: MonitorSettings) -> None:
    while True:
        try:
            await repository.forget_due()
        except Exception:
            log.exception("sweep will try again")
        await asyncio.sleep(settings.sweep_seconds)


@asynccontextmanager
async def _use(platform: Platform) -> AsyncIterator[None]:
    settings = MonitorSettings()
    repository = ScoringRepository(platform.database)
    context = platform.bus.broker.context
    context.set_global("repository", repository)
    context.set_global("settings", settings)
    platform.background(_sweep_forever(repository, settings), "sweep")
    catch_up = CatchUp(repository, settings.raw_retention_seconds)
    platform.background(catch_up.forever(settings.catch_up_seconds), "catch up")
    yield


def main() -> None:
    """Run the monitor until it is told to stop."""
    run_service("monitor", [router], _use)
