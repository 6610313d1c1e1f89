"""What looks for work goes on looking, whatever it finds."""

from __future__ import annotations

import asyncio
from typing import Any

from vitrine_builder.worker import Worker as BuildWorker
from vitrine_trainer.worker import Worker as TrialWorker


class Broken:
    """A queue whose first looks fail in ways that nobody foresaw."""

    def __init__(self) -> None:
        self.looks = 0
        self.well = asyncio.Event()

    async def _look(self, *_arguments: Any) -> list[Any]:
        self.looks += 1
        if self.looks < 3:
            raise ValueError("a document that cannot be read")
        self.well.set()
        return []

    queued = startable = waiting_builds = _look


async def _is_well(worker: Any, queue: Broken) -> None:
    working = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        await queue.well.wait()
    assert not working.done()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def test_the_builder_survives_a_look_that_fails() -> None:
    queue: Any = Broken()
    nothing: Any = None
    await _is_well(
        BuildWorker(queue, nothing, nothing, concurrency=1, max_claims=1, pause_seconds=0.01), queue
    )


async def test_the_trainer_survives_a_look_that_fails() -> None:
    queue: Any = Broken()
    nothing: Any = None
    await _is_well(TrialWorker(queue, nothing, nothing, nothing, slots=1, look_seconds=0.01), queue)
