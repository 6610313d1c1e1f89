"""Wiring of the monitor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vitrine_common.clock import after
from vitrine_common.service import Platform, run_service
from vitrine_monitor.handlers import router
from vitrine_monitor.repository import ScoringRepository
from vitrine_monitor.scoring import score
from vitrine_monitor.settings import MonitorSettings

log = logging.getLogger(__name__)

_LOOK_BACK_SECONDS = 24 * 3600


async def _sweep_forever(repository: ScoringRepository, settings: MonitorSettings) -> None:
    while True:
        try:
            await repository.forget_due()
        except Exception:
            log.exception("sweep will try again")
        await asyncio.sleep(settings.sweep_seconds)


async def _catch_up_forever(repository: ScoringRepository, settings: MonitorSettings) -> None:
    """Score what finished while facts could not reach the monitor (an emptied stream, a restored backup)."""
    while True:
        await asyncio.sleep(settings.catch_up_seconds)
        try:
            unscored = await repository.unscored(after(-_LOOK_BACK_SECONDS))
        except Exception:
            log.exception("catching up will try again")
            continue
        for run_id in unscored:
            try:
                await score(run_id, repository, settings.raw_retention_seconds)
            except Exception:  # one that cannot be scored must not keep the others waiting
                log.exception("catching up will try again", extra={"run": run_id})


@asynccontextmanager
async def _use(platform: Platform) -> AsyncIterator[None]:
    settings = MonitorSettings()
    repository = ScoringRepository(platform.database)
    context = platform.bus.broker.context
    context.set_global("repository", repository)
    context.set_global("settings", settings)
    platform.background(_sweep_forever(repository, settings), "sweep")
    platform.background(_catch_up_forever(repository, settings), "catch up")
    yield


def main() -> None:
    """Run the monitor until it is told to stop."""
    run_service("monitor", [router], _use)
