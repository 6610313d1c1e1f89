"""Live news of one build: sent in order, and never in the way of the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from vitrine_builder.progress import Report, Step
from vitrine_builder.repository import Builds
from vitrine_common.bus import Bus
from vitrine_common.documents import Build
from vitrine_common.messages import BuildProgress

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def broadcast(bus: Bus, builds: Builds, build: Build) -> AsyncIterator[Report]:
    """Give a function that tells the bus of a step and writes the step's name into the build.

    Losing news harms nobody, so what the bus or the database answers does not reach the work. Everything
    reported within the block was sent, or given up, when the block ends. Threads may report, too.
    """
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[Step | None] = asyncio.Queue()
    sender = asyncio.create_task(_send(bus, builds, build, news))
    try:
        yield lambda step: _tell(loop, news, step)
    finally:
        _tell(loop, news, None)
        with contextlib.suppress(asyncio.CancelledError):
            await sender


def _tell(loop: asyncio.AbstractEventLoop, news: asyncio.Queue[Step | None], step: Step | None) -> None:
    loop.call_soon_threadsafe(news.put_nowait, step)


async def _send(bus: Bus, builds: Builds, build: Build, news: asyncio.Queue[Step | None]) -> None:
    written = "queued"
    while (step := await news.get()) is not None:
        try:
            await bus.tell(_message(build.id, step))
            if step.name != written and step.name not in {"done", "failed"}:
                written = step.name
                await builds.note_step(build, step.name)
        except Exception:
            # Whatever the servers raise: this is news, and the work goes on.
            log.debug("progress was not told", exc_info=True, extra={"build": build.id})


def _message(build_id: str, step: Step) -> BuildProgress:
    return BuildProgress(
        build_id=build_id,
        step=step.name,
        message=step.sentence,
        done=step.done,
        total=step.total,
        unit=step.unit,
    )
